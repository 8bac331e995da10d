/**
 * The shaders of WebGL2. Numbers of sections are those of bitstream_spec.md.
 *
 * Rows of all textures but the canvas are counted from the top of the picture: row 0 of a texture is its first row.
 */

const HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
`;

/** The packed GoP, as pack.js lays it out. */
const DATA = `
uniform sampler2D data;
vec4 place(int i) {
  int width = textureSize(data, 0).x;
  return texelFetch(data, ivec2(i % width, i / width), 0);
}
`;

/** A triangle that covers the viewport. */
export const COVER = `${HEAD}
void main() {
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

/** The inputs of the MLP (sections 7.1 and 7.2), four in each pixel; a column is a Gaussian. */
export const INPUTS = `${HEAD}${DATA}
uniform int first; // Gaussian of column 0
uniform int nLevels;
uniform int nInputs;
uniform int nFeatures; // inputs before the time encoding
uniform uvec4 levels[64];
uniform vec4 gamma[8];
uniform float t;
out vec4 inputs;

float number(int i) { return place(i >> 2)[i & 3]; }

// A level of the 2D encoding has no cells along t, and so all its weight at vertices with t = 0.
float feature(int level, int which, vec2 point) {
  uvec4 a = levels[2 * level];
  uvec4 b = levels[2 * level + 1];
  vec3 cells = vec3(a.xyz);
  vec3 position = vec3(point, t) * cells;
  vec3 cell = min(floor(position), max(cells - 1.0, 0.0));
  vec3 fraction = position - cell;
  float sum = 0.0;
  for (uint corner = 0u; corner < (a.z == 0u ? 4u : 8u); corner++) {
    uvec3 step = uvec3(corner & 1u, (corner >> 1) & 1u, corner >> 2);
    vec3 weights = mix(1.0 - fraction, fraction, vec3(step));
    uvec3 vertex = uvec3(cell) + step;
    uint entry = b.x == 0u
      ? vertex.x + (a.x + 1u) * (vertex.y + (a.y + 1u) * vertex.z)
      : (vertex.x ^ (vertex.y * 2654435761u) ^ (vertex.z * 805459861u)) & b.x;
    sum += weights.x * weights.y * weights.z * number(int(a.w + entry * b.y) + which);
  }
  return sum;
}

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec2 point = clamp((place(2 * (first + at.x)).xy + 1.0) / 2.0, 0.0, 1.0);
  vec4 found = vec4(0.0);
  int level = 0;
  for (int c = 0; c < 4; c++) {
    int i = 4 * at.y + c;
    if (i < nFeatures) {
      while (level + 1 < nLevels && i >= int(levels[2 * level + 3].z)) level++;
      found[c] = feature(level, i - int(levels[2 * level + 1].z), point);
    } else if (i < nInputs) {
      found[c] = gamma[(i - nFeatures) >> 2][(i - nFeatures) & 3];
    }
  }
  inputs = found;
}`;

const LAYER = `
uniform sampler2D source;
uniform int start;
uniform int nSources;
uniform int quads;
vec4 affine(int column, int quad) {
  vec4 sum = place(start + nSources * quads + quad);
  for (int i = 0; i < nSources; i += 4) {
    vec4 x = texelFetch(source, ivec2(column, i >> 2), 0);
    int at = start + i * quads + quad;
    sum += x.x * place(at) + x.y * place(at + quads) + x.z * place(at + 2 * quads) + x.w * place(at + 3 * quads);
  }
  return sum;
}
`;

/** A hidden layer of the MLP (section 7.3), four outputs in each pixel. */
export const HIDDEN = `${HEAD}${DATA}${LAYER}
out vec4 outputs;
void main() {
  outputs = max(affine(int(gl_FragCoord.x), int(gl_FragCoord.y)), 0.0);
}`;

/** The heads of the MLP, and what they make of the Gaussians (sections 7.3 and 7.4), in pixels of the coded size. */
export const HEADS = `${HEAD}${DATA}${LAYER}
uniform int first;
uniform vec2 codedSize;
uniform bool shapeHead;
layout(location = 0) out vec4 numbersA; // m_x, m_y, l1, l2
layout(location = 1) out vec4 numbersB; // l3, c'
void main() {
  int column = int(gl_FragCoord.x);
  vec4 a = place(2 * (first + column));
  vec4 b = place(2 * (first + column) + 1);
  vec4 deltaA = affine(column, 0); // delta_mu, d1, ds
  vec4 deltaB = affine(column, 1); // d3, delta_c
  numbersA = vec4((a.xy + deltaA.xy + 1.0) / 2.0 * codedSize, a.zw);
  numbersB = vec4(b.x, b.yzw + deltaB.yzw);
  if (shapeHead) {
    vec3 d = clamp(vec3(deltaA.zw, deltaB.x), -1.0, 1.0);
    float l3 = max(b.x * exp(d.z), 0.5);
    numbersA.zw = vec2(max(a.z * exp(d.x), 0.5), (a.w / b.x + d.y) * l3);
    numbersB.x = l3;
  }
}`;

/** Gaussians between two frames, and their place in the viewport (section 7.5). */
const GAUSSIAN = `${DATA}
uniform sampler2D fromA, fromB, toA, toB;
uniform float share;
uniform vec3 view; // x, y, scale
uniform vec2 viewport; // pixels
uniform float up; // 1: row 0 is at the bottom, as textures have it; -1: at the top, as the canvas has it

struct Gaussian { vec2 m; vec3 l; vec3 color; };

ivec2 texelOf(int i) {
  int width = textureSize(fromA, 0).x;
  return ivec2(i % width, i / width);
}

bool outside(float number) { return (floatBitsToUint(number) & 0x7fffffffu) > 0x53800000u; }

/** Whether all numbers are at most 2^40 and the shape at least 2^-20. Compilers may leave comparisons with NaN out. */
bool isDrawn(Gaussian g) {
  bool small = floatBitsToInt(g.l.x) < 0x35800000 || floatBitsToInt(g.l.z) < 0x35800000;
  return !(small || outside(g.m.x) || outside(g.m.y) || outside(g.l.x) || outside(g.l.y) || outside(g.l.z)
    || outside(g.color.x) || outside(g.color.y) || outside(g.color.z));
}

Gaussian between(int i) {
  ivec2 at = texelOf(i);
  vec4 a = texelFetch(fromA, at, 0);
  vec4 b = texelFetch(fromB, at, 0);
  if (share > 0.0) {
    a += share * (texelFetch(toA, at, 0) - a);
    b += share * (texelFetch(toB, at, 0) - b);
  }
  return Gaussian(a.xy, vec3(a.zw, b.x), b.yzw);
}

Gaussian placed(Gaussian g) {
  float scale = view.z;
  vec2 m = (g.m - view.xy) * scale;
  vec3 l = g.l * scale;
  if (scale >= 1.0) return Gaussian(m, l, g.color);
  float s = (1.0 - scale * scale) / 4.0;
  float root = sqrt(l.x * l.x + s);
  float r = l.y / root;
  vec3 wide = vec3(root, l.x * r, sqrt(l.z * l.z + s + s * r * r));
  return Gaussian(m, wide, g.color * (l.x / wide.x) * (l.z / wide.z));
}

vec4 toClip(vec2 pixel) {
  vec2 unit = pixel / viewport * 2.0 - 1.0;
  return vec4(unit.x, unit.y * up, 0.0, 1.0);
}

/** A corner of what holds the part of a Gaussian within so many standard deviations, and a little more. */
vec4 cornerOf(Gaussian g, float deviations) {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  vec2 uv = corner * (deviations + 0.5 / vec2(g.l.x, g.l.z));
  vec2 reach = vec2(g.l.x, length(g.l.yz)) * deviations + 1.0;
  // Rasterisers lose precision far outside the viewport: there an upright box that is cut takes its place.
  bool far = any(greaterThan(abs(g.m) + reach * 2.0, vec2(8192.0)));
  vec2 box = clamp(g.m + corner * reach, vec2(-1.0), viewport + 1.0);
  return toClip(far ? box : g.m + vec2(g.l.x * uv.x, g.l.y * uv.x + g.l.z * uv.y));
}
const vec4 NOWHERE = vec4(2.0, 2.0, 2.0, 1.0);
`;

/** What fragments get of their Gaussian, and their place in units of its deviations. */
const OF_GAUSSIAN = `
flat in vec4 numbersA;
flat in vec4 numbersB;
vec2 unitsOf(vec2 pixel) {
  vec2 d = pixel - numbersA.xy;
  float u = d.x / numbersA.z;
  return vec2(u, (d.y - numbersA.w * u) / numbersB.x);
}
`;

/** Splats as quads, every \`batches\`-th of them. */
export const SPLAT_VERTEX = `${HEAD}${GAUSSIAN}
uniform int batch, batches;
uniform int bits; // place of the weights of bits; -1: colours are drawn
flat out vec4 numbersA;
flat out vec4 numbersB;
void main() {
  int i = gl_InstanceID * batches + batch;
  Gaussian g = between(i);
  if (bits >= 0) g.color = vec3(place(bits + (i >> 2))[i & 3] / (g.l.x * g.l.z));
  g = placed(g);
  numbersA = vec4(g.m, g.l.xy);
  numbersB = vec4(g.l.z, g.color);
  gl_Position = isDrawn(g) ? cornerOf(g, 3.0) : NOWHERE;
}`;

export const SPLAT_FRAGMENT = `${HEAD}${OF_GAUSSIAN}
out vec4 color;
void main() {
  vec2 uv = unitsOf(gl_FragCoord.xy);
  float w = max(0.0, exp(-0.5 * dot(uv, uv)) - exp(-4.5));
  color = vec4(numbersB.yzw * w, 0.0);
}`;

/** Adds the sums of one batch to those of the batches before it. */
export const ADD = `${HEAD}
uniform sampler2D sums, part;
out vec4 color;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  color = texelFetch(sums, at, 0) + texelFetch(part, at, 0);
}`;

/** Samples from sums (section 7.6), and what views make of them. */
export const SAMPLES = `${HEAD}
uniform sampler2D sums;
uniform float up;
uniform float light;
uniform bool heat;
out vec4 color;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  if (up < 0.0) at.y = textureSize(sums, 0).y - 1 - at.y;
  vec3 samples = floor(255.0 * clamp(texelFetch(sums, at, 0).rgb, 0.0, 1.0) + 0.5) / 255.0;
  color = vec4(heat ? clamp(3.0 * samples.r - vec3(0.0, 1.0, 2.0), 0.0, 1.0) : samples * light, 1.0);
}`;

/** Outlines at one standard deviation. */
export const OUTLINE_VERTEX = `${HEAD}${GAUSSIAN}
flat out vec4 numbersA;
flat out vec4 numbersB;
void main() {
  Gaussian g = placed(between(gl_InstanceID));
  float brightest = max(g.color.r, max(g.color.g, g.color.b));
  numbersA = vec4(g.m, g.l.xy);
  numbersB = vec4(g.l.z, brightest > 0.0 ? max(g.color / brightest, 0.2) : vec3(1.0, 0.2, 0.6));
  gl_Position = isDrawn(g) ? cornerOf(g, 1.0 + 1.5 / min(g.l.x, g.l.z)) : NOWHERE;
}`;

export const OUTLINE_FRAGMENT = `${HEAD}${OF_GAUSSIAN}
uniform vec2 viewport;
uniform float up;
out vec4 color;
void main() {
  vec2 uv = unitsOf(up < 0.0 ? vec2(gl_FragCoord.x, viewport.y - gl_FragCoord.y) : gl_FragCoord.xy);
  float r = length(uv);
  vec2 slope = vec2(uv.x - uv.y * numbersA.w / numbersB.x, uv.y * numbersA.z / numbersB.x) / (r * numbersA.z);
  float pixels = abs(r - 1.0) / max(length(slope), 1e-6);
  color = vec4(numbersB.yzw * clamp(1.0 - pixels, 0.0, 1.0), 1.0);
}`;

/** Arrows along the motion of Gaussians: a shaft of two triangles, a head of one. */
export const ARROW_VERTEX = `${HEAD}${GAUSSIAN}
uniform int stride;
uniform float frames;
// x: 0 is the tail, 1 where the head begins, 2 its tip; y: pixels to the side.
const vec2 CORNERS[9] = vec2[](
  vec2(0, -0.75), vec2(1, -0.75), vec2(0, 0.75), vec2(1, -0.75), vec2(1, 0.75), vec2(0, 0.75),
  vec2(1, -3), vec2(1, 3), vec2(2, 0)
);
void main() {
  int i = gl_InstanceID * stride;
  ivec2 at = texelOf(i);
  vec2 along = (texelFetch(toA, at, 0).xy - texelFetch(fromA, at, 0).xy) * frames * view.z;
  float size = length(along);
  vec2 axis = along / size;
  vec2 corner = CORNERS[gl_VertexID];
  float x = corner.x == 0.0 ? 0.0 : corner.x == 1.0 ? size - min(6.0, size) : size;
  Gaussian g = placed(between(i));
  bool shown = isDrawn(g) && size >= 1.0 && !outside(size);
  gl_Position = shown ? toClip(g.m + axis * x + vec2(-axis.y, axis.x) * corner.y) : NOWHERE;
}`;

export const ARROW_FRAGMENT = `${HEAD}
out vec4 color;
void main() {
  color = vec4(1.0, 224.0 / 255.0, 64.0 / 255.0, 1.0);
}`;
