/**
 * The shaders of WebGPU. Numbers of sections are those of bitstream_spec.md. benchmarks/web_render.py runs them, too.
 */

/**
 * The field of a frame (sections 7.1 to 7.4). A workgroup computes TILE Gaussians, a multiple of 4; QUADS is the largest
 * number of places of four that the inputs or the outputs of a layer take. Both are constants that stand before this.
 */
export const FIELD = /* wgsl */ `
struct Layer { start: u32, inputs: u32, quads: u32, unused: u32 }
struct Settings {
  gamma: array<vec4f, 8>,
  layers: array<Layer, 3>,
  codedSize: vec2f,
  t: f32,
  shapeHead: u32,
  count: u32,
  nLevels: u32,
  nFeatures: u32, // inputs before the time encoding
  nInputs: u32,
}
@group(0) @binding(0) var<storage, read> data: array<vec4f>; // as pack.js lays it out
@group(0) @binding(1) var<storage, read> levels: array<vec4u>;
@group(0) @binding(2) var<uniform> settings: Settings;
@group(0) @binding(3) var<storage, read_write> frame: array<vec4f>; // [N][2]: m, l1, l2; l3, c'

// What goes into a layer is in one half, what comes out of it in the other.
const HALF = TILE * QUADS;
var<workgroup> values: array<vec4f, 2 * HALF>;

// A level of the 2D encoding has no cells along t, and so all its weight at vertices with t = 0.
fn feature(level: u32, which: u32, point: vec2f) -> f32 {
  let a = levels[2 * level];
  let b = levels[2 * level + 1];
  let cells = vec3f(a.xyz);
  let position = vec3f(point, settings.t) * cells;
  let cell = min(floor(position), max(cells - 1, vec3f(0)));
  let fraction = position - cell;
  let corners = select(8u, 4u, a.z == 0);
  var sum = 0.0;
  for (var corner = 0u; corner < corners; corner++) {
    let step = vec3u(corner & 1, (corner >> 1) & 1, corner >> 2);
    let weights = select(1 - fraction, fraction, step == vec3u(1));
    let vertex = vec3u(cell) + step;
    let dense = vertex.x + (a.x + 1) * (vertex.y + (a.y + 1) * vertex.z);
    let hashed = (vertex.x ^ (vertex.y * 2654435761u) ^ (vertex.z * 805459861u)) & b.x;
    let at = a.w + select(hashed, dense, b.x == 0) * b.y + which;
    sum += weights.x * weights.y * weights.z * data[at >> 2][at & 3];
  }
  return sum;
}

fn inputs(gaussian: u32, quad: u32) -> vec4f {
  let point = clamp((data[2 * gaussian].xy + 1) / 2, vec2f(0), vec2f(1));
  var found = vec4f(0);
  var level = 0u;
  for (var c = 0u; c < 4; c++) {
    let i = 4 * quad + c;
    if (i < settings.nFeatures) {
      while (level + 1 < settings.nLevels && i >= levels[2 * level + 3].z) { level++; }
      found[c] = feature(level, i - levels[2 * level + 1].z, point);
    } else if (i < settings.nInputs) {
      let j = i - settings.nFeatures;
      found[c] = settings.gamma[j >> 2][j & 3];
    }
  }
  return found;
}

// The weights of four inputs for the same four outputs: columns of a matrix.
fn weights(layer: Layer, input: u32, quad: u32) -> mat4x4f {
  let at = layer.start + input * layer.quads + quad;
  return mat4x4f(data[at], data[at + layer.quads], data[at + 2 * layer.quads], data[at + 3 * layer.quads]);
}

fn bias(layer: Layer, quad: u32) -> vec4f { return data[layer.start + layer.inputs * layer.quads + quad]; }

// A thread computes four outputs of four Gaussians, so that it reads weights for sixteen numbers at once.
fn hidden(layer: Layer, thread: u32, source: u32, result: u32) {
  for (var item = thread; item < layer.quads * (TILE / 4); item += 64) {
    let quad = item % layer.quads;
    let at = item / layer.quads * 4 * QUADS;
    var sums = array<vec4f, 4>();
    for (var g = 0u; g < 4; g++) { sums[g] = bias(layer, quad); }
    for (var i = 0u; i < layer.inputs; i += 4) {
      let matrix = weights(layer, i, quad);
      for (var g = 0u; g < 4; g++) { sums[g] += matrix * values[source + at + g * QUADS + i / 4]; }
    }
    for (var g = 0u; g < 4; g++) { values[result + at + g * QUADS + quad] = max(sums[g], vec4f(0)); }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let first = (group.x + group.y * groups.x) * TILE;
  let inputQuads = settings.layers[0].inputs / 4;
  for (var item = thread; item < TILE * inputQuads; item += 64) {
    let g = item / inputQuads;
    values[g * QUADS + item % inputQuads] = inputs(min(first + g, settings.count - 1), item % inputQuads);
  }
  workgroupBarrier();
  hidden(settings.layers[0], thread, 0, HALF);
  workgroupBarrier();
  hidden(settings.layers[1], thread, HALF, 0);
  workgroupBarrier();
  let i = first + thread;
  if (thread >= TILE || i >= settings.count) { return; }
  let heads = settings.layers[2];
  var deltaA = bias(heads, 0); // delta_mu, d1, ds
  var deltaB = bias(heads, 1); // d3, delta_c
  for (var j = 0u; j < heads.inputs; j += 4) {
    let x = values[thread * QUADS + j / 4];
    deltaA += weights(heads, j, 0) * x;
    deltaB += weights(heads, j, 1) * x;
  }
  let a = data[2 * i];
  let b = data[2 * i + 1];
  var l = vec3f(a.zw, b.x);
  if (settings.shapeHead == 1) {
    let d = clamp(vec3f(deltaA.zw, deltaB.x), vec3f(-1), vec3f(1));
    let l3 = max(l.z * exp(d.z), 0.5);
    l = vec3f(max(l.x * exp(d.x), 0.5), (l.y / l.z + d.y) * l3, l3);
  }
  frame[2 * i] = vec4f((a.xy + deltaA.xy + 1) / 2 * settings.codedSize, l.xy);
  frame[2 * i + 1] = vec4f(l.z, b.yzw + deltaB.yzw);
}
`;

/** What shaders know of a view. */
const VIEW = /* wgsl */ `
struct View {
  origin: vec2f, // the picture's point in the left upper corner, pixels of the coded size
  scale: f32,
  share: f32, // of the way between two frames
  clip: vec4u, // left, top, right, bottom of what the picture covers
  size: vec2u, // of the canvas
  count: u32,
  stride: u32, // every how many Gaussians an arrow is drawn
  bits: u32, // the place of the weights of bits; 0: colours are drawn
  light: f32, // what is left of the picture's light
  frames: f32, // how many frames long arrows are
  unused: u32,
}
`;

/** Gaussians between two frames, in pixels of the canvas (section 7.5). */
export const PLACE = /* wgsl */ `${VIEW}
@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> before: array<vec4f>;
@group(0) @binding(2) var<storage, read> after: array<vec4f>;
@group(0) @binding(3) var<storage, read> data: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> splats: array<vec4f>; // [N][2]: m, 1 / l1, l2; 1 / l3, c'
@group(0) @binding(5) var<storage, read_write> boxes: array<vec4f>; // [N]: least x and y, largest x and y that are covered

fn outside(number: f32) -> bool { return (bitcast<u32>(number) & 0x7fffffff) > 0x53800000; }

// Whether all numbers are at most 2^40 and the shape at least 2^-20. Compilers may leave comparisons with NaN out.
fn isDrawn(a: vec4f, b: vec4f) -> bool {
  if (bitcast<i32>(a.z) < 0x35800000 || bitcast<i32>(b.x) < 0x35800000) { return false; }
  for (var i = 0u; i < 4; i++) {
    if (outside(a[i]) || outside(b[i])) { return false; }
  }
  return true;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let i = (group.x + group.y * groups.x) * 64 + thread;
  if (i >= view.count) { return; }
  var a = before[2 * i];
  var b = before[2 * i + 1];
  if (view.share > 0) {
    a += view.share * (after[2 * i] - a);
    b += view.share * (after[2 * i + 1] - b);
  }
  var color = b.yzw;
  if (view.bits > 0) { color = vec3f(data[view.bits + (i >> 2)][i & 3] / (a.z * b.x)); }
  let m = (a.xy - view.origin) * view.scale;
  var l = vec3f(a.zw, b.x) * view.scale;
  if (view.scale < 1) {
    let area = l.xz;
    let s = (1 - view.scale * view.scale) / 4;
    let root = sqrt(l.x * l.x + s);
    let r = l.y / root;
    l = vec3f(root, l.x * r, sqrt(l.z * l.z + s + s * r * r));
    color *= area.x / l.x * (area.y / l.z);
  }
  let reach = 3 * vec2f(l.x, length(l.yz));
  let drawn = isDrawn(vec4f(m, l.xy), vec4f(l.z, color));
  splats[2 * i] = vec4f(m, 1 / l.x, l.y);
  splats[2 * i + 1] = vec4f(1 / l.z, color);
  boxes[i] = select(vec4f(1, 1, -1, -1) * 3e38, vec4f(m - reach, m + reach), drawn);
}
`;

/**
 * Samples of pixels (sections 7.5 and 7.6). A workgroup computes a tile of 16 x 16: it looks through all Gaussians, 2048
 * at a time, keeps those that reach into its tile, and then each thread sums them up for its pixel.
 */
export const RASTER = /* wgsl */ `${VIEW}
@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> splats: array<vec4f>;
@group(0) @binding(2) var<storage, read> boxes: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> pixels: array<u32>; // [height][width]: R, G, B, A

const ROUND = 2048u;
var<workgroup> near: array<u32, ROUND>;
var<workgroup> nNear: atomic<u32>;

// v is linear in the picture, so that its least magnitude in the tile follows from that at the middle.
fn reaches(i: u32, middle: vec2f) -> bool {
  let box = boxes[i];
  if (any(box.xy > middle + 8) || any(box.zw < middle - 8)) { return false; }
  let a = splats[2 * i];
  let shear = a.w * a.z;
  let d = middle - a.xy;
  return abs(d.y - shear * d.x) - 8 * (1 + abs(shear)) <= 3 / splats[2 * i + 1].x;
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) place: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let corner = view.clip.xy + 16 * group.xy;
  let pixel = corner + place.xy;
  let center = vec2f(pixel) + 0.5;
  let floor = exp(-4.5);
  var sum = vec3f(0);
  for (var start = 0u; start < view.count; start += ROUND) {
    workgroupBarrier();
    if (thread == 0) { atomicStore(&nNear, 0u); }
    workgroupBarrier();
    for (var i = start + thread; i < min(view.count, start + ROUND); i += 256) {
      if (reaches(i, vec2f(corner) + 8)) { near[atomicAdd(&nNear, 1u)] = i; }
    }
    workgroupBarrier();
    let n = atomicLoad(&nNear);
    for (var j = 0u; j < n; j++) {
      let a = splats[2 * near[j]];
      let b = splats[2 * near[j] + 1];
      let d = center - a.xy;
      let u = d.x * a.z;
      let v = (d.y - a.w * u) * b.x;
      let square = u * u + v * v;
      if (square < 9) { sum += b.yzw * max(exp(-0.5 * square) - floor, 0); }
    }
  }
  if (any(pixel >= view.clip.zw)) { return; }
  pixels[pixel.y * view.size.x + pixel.x] = pack4x8unorm(vec4f(clamp(sum, vec3f(0), vec3f(1)), 1));
}
`;

const TO_CLIP = /* wgsl */ `
fn toClip(pixel: vec2f) -> vec4f {
  return vec4f((pixel / vec2f(view.size) * 2 - 1) * vec2f(1, -1), 0, 1);
}
const NOWHERE = vec4f(2, 2, 2, 1);
`;

/** The picture, and what views make of it. */
export const PRESENT = /* wgsl */ `${VIEW}
@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;

@vertex
fn vertex(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
  return vec4f(select(-1.0, 3.0, i == 1), select(-1.0, 3.0, i == 2), 0, 1);
}

@fragment
fn fragment(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = vec2u(position.xy);
  let samples = unpack4x8unorm(pixels[pixel.y * view.size.x + pixel.x]).rgb;
  let heat = clamp(3 * samples.r - vec3f(0, 1, 2), vec3f(0), vec3f(1));
  return vec4f(select(samples * view.light, heat, view.bits > 0), 1);
}
`;

/** Outlines at one standard deviation. */
export const OUTLINE = /* wgsl */ `${VIEW}
@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> splats: array<vec4f>;
@group(0) @binding(2) var<storage, read> boxes: array<vec4f>;
${TO_CLIP}
struct Outline {
  @builtin(position) position: vec4f,
  @location(0) @interpolate(flat) a: vec4f,
  @location(1) @interpolate(flat) b: vec4f,
}

@vertex
fn vertex(@builtin(vertex_index) corner: u32, @builtin(instance_index) i: u32) -> Outline {
  let a = splats[2 * i];
  let b = splats[2 * i + 1];
  let brightest = max(b.y, max(b.z, b.w));
  let color = select(vec3f(1, 0.2, 0.6), max(b.yzw / brightest, vec3f(0.2)), brightest > 0);
  // A third of what is covered, and room for the line. Rasterisers lose precision far outside the canvas.
  let reach = vec2f(1 / a.z, length(vec2f(a.w, 1 / b.x))) + 2;
  let side = vec2f(f32(corner & 1), f32(corner >> 1)) * 2 - 1;
  let point = clamp(a.xy + side * reach, vec2f(-1), vec2f(view.size) + 1);
  return Outline(select(toClip(point), NOWHERE, boxes[i].x > boxes[i].z), a, vec4f(b.x, color));
}

@fragment
fn fragment(outline: Outline) -> @location(0) vec4f {
  let d = outline.position.xy - outline.a.xy;
  let u = d.x * outline.a.z;
  let v = (d.y - outline.a.w * u) * outline.b.x;
  let r = length(vec2f(u, v));
  let slope = vec2f((u - v * outline.a.w * outline.b.x) * outline.a.z, v * outline.b.x) / r;
  let pixels = abs(r - 1) / max(length(slope), 1e-6);
  return vec4f(outline.b.yzw * clamp(1 - pixels, 0, 1), 1);
}
`;

/** Arrows along the motion of Gaussians: a shaft of two triangles, a head of one. */
export const ARROW = /* wgsl */ `${VIEW}
@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var<storage, read> splats: array<vec4f>;
@group(0) @binding(2) var<storage, read> boxes: array<vec4f>;
@group(0) @binding(3) var<storage, read> before: array<vec4f>;
@group(0) @binding(4) var<storage, read> after: array<vec4f>;
${TO_CLIP}
@vertex
fn vertex(@builtin(vertex_index) corner: u32, @builtin(instance_index) instance: u32) -> @builtin(position) vec4f {
  // x: 0 is the tail, 1 where the head begins, 2 its tip; y: pixels to the side.
  var corners = array(
    vec2f(0, -0.75), vec2f(1, -0.75), vec2f(0, 0.75), vec2f(1, -0.75), vec2f(1, 0.75), vec2f(0, 0.75),
    vec2f(1, -3), vec2f(1, 3), vec2f(2, 0),
  );
  let i = instance * view.stride;
  let along = (after[2 * i].xy - before[2 * i].xy) * view.frames * view.scale;
  let size = length(along);
  if (boxes[i].x > boxes[i].z || !(size >= 1 && size < 1048576)) { return NOWHERE; }
  let axis = along / size;
  let place = corners[corner];
  let x = select(select(size, size - min(6, size), place.x == 1), 0, place.x == 0);
  return toClip(splats[2 * i].xy + axis * x + vec2f(-axis.y, axis.x) * place.y);
}

@fragment
fn fragment() -> @location(0) vec4f {
  return vec4f(1, 224.0 / 255, 64.0 / 255, 1);
}
`;
