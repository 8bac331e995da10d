/**
 * A GoP that no file has, for what golden files leave out: many Gaussians over one another, and known shapes.
 *
 * @param {{ n: number, width: number, height: number, nFrames?: number, mlpWidth?: number, size?: number,
 *   isBroken?: boolean }} options size: standard deviations of the largest Gaussians, pixels; isBroken: of four Gaussians,
 *   three have numbers with which they are not drawn
 * @returns {import('../../web/decoder/index.js').Gop}
 */
export function syntheticGop({ n, width, height, nFrames = 3, mlpWidth = 10, size = 6, isBroken = false }) {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const between = (low, high) => low + (high - low) * random();
  const floats = (length, low, high) => Float32Array.from({ length }, () => between(low, high));
  const level = (resolutions, dense, entries) => ({ resolutions, dense, entries });
  const encoding = (levels) => ({ levels, features: 2 });
  const static_ = encoding([level([2, 2], true, 9), level([5, 4], false, 16)]);
  const dynamic = encoding([level([2, 2, 2], true, 27), level([6, 5, 3], false, 32)]);
  const nInputs = 4 + 4 + 4;
  const shapes = { w1: [mlpWidth, nInputs], b1: [mlpWidth, 1], w2: [mlpWidth, mlpWidth], b2: [mlpWidth, 1] };
  for (const [name, rows] of [
    ['means', 2],
    ['colors', 3],
    ['shapes', 3],
  ]) {
    shapes[`w_${name}`] = [rows, mlpWidth];
    shapes[`b_${name}`] = [rows, 1];
  }
  const tensors = Object.entries(shapes).map(([name, [rows, columns]]) => ({ name, rows, columns }));
  const tables = ({ levels, features }) => levels.map(({ entries }) => floats(entries * features, -0.5, 0.5));
  // About three quarters of the light are added, one quarter is taken away again, as fitted Gaussians do.
  const brightness = (2 * width * height) / (n * size * size * 3);
  const reach = {
    w_means: 0.08,
    w_colors: 0.5 * brightness,
    w_shapes: 0.5,
    b_means: 0.02,
    b_colors: 0.05 * brightness,
    b_shapes: 0.1,
  };
  const means = floats(2 * n, -0.6, 0.6);
  const factors = new Float32Array(3 * n);
  const colors = new Float32Array(3 * n);
  for (let i = 0; i < n; i++) {
    factors.set([between(0.5, size), between(-size, size) / 2, between(0.5, size)], 3 * i);
    for (let c = 0; c < 3; c++) colors[3 * i + c] = between(-0.25, 0.75) * brightness;
  }
  for (let i = 0; isBroken && i < n; i++) {
    if (i % 4 === 0) means[2 * i] = 1e13;
    if (i % 4 === 1) colors[3 * i] = 1e13;
    if (i % 4 === 2) means[2 * i + 1] = NaN;
  }
  return {
    parameters: {
      header: {
        nFrames,
        nGaussians: n,
        lowPass: 0.3,
        pointMode: 1,
        shapeMode: 1,
        colorMode: 1,
        choleskyBits: 8,
        colorStages: 1,
        codebookSize: 1,
        static: static_,
        dynamic,
        mlpWidth,
        nFrequencies: 2,
        shapeHead: true,
        weightBits: 8,
        nInputs,
        tensors,
      },
      means,
      factors,
      colors,
      staticTables: tables(static_),
      dynamicTables: tables(dynamic),
      tensors: Object.fromEntries(
        tensors.map(({ name, rows, columns }) => {
          const limit = name[0] === 'w' && name[1] !== '_' ? 1 : (reach[name] ?? 0.1) / Math.sqrt(columns);
          return [name, floats(rows * columns, -limit, limit)];
        }),
      ),
      bits: floats(n, 20, 80),
    },
    size: { width, height },
  };
}
