import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_BUDGET } from '../../web/decoder/budget.js';
import { packGop } from '../../web/render/pack.js';
import { syntheticGop } from './synthetic.mjs';

test('a layer has its weights by input, four outputs to a place, and then its bias', () => {
  const gop = syntheticGop({ n: 5, width: 8, height: 8, mlpWidth: 6 });
  const { tensors } = gop.parameters;
  const { data, layers } = packGop(gop, DEFAULT_BUDGET);
  const { start, inputs, quads } = layers[1];
  assert.deepEqual([inputs, quads], [8, 2]);
  for (let row = 0; row < 8; row++) {
    for (let column = 0; column < 8; column++) {
      const expected = row < 6 && column < 6 ? tensors.w2[6 * row + column] : 0;
      assert.equal(data[4 * (start + column * quads) + row], expected);
    }
    assert.equal(data[4 * (start + inputs * quads) + row], row < 6 ? tensors.b2[row] : 0);
  }
});

test('work beyond the budget is refused before anything is sent to a GPU', () => {
  const wide = syntheticGop({ n: 2 ** 18, width: 80, height: 80, size: 90 });
  assert.throws(() => packGop(wide, DEFAULT_BUDGET), { name: 'BudgetError', message: /Gaussians a pixel/ });
  assert.ok(packGop(wide, { ...DEFAULT_BUDGET, work: 2 ** 20 }));
  const deep = syntheticGop({ n: 2 ** 17, width: 80, height: 80, size: 1, mlpWidth: 512 });
  assert.throws(() => packGop(deep, DEFAULT_BUDGET), { name: 'BudgetError', message: /multiply-additions/ });
});
