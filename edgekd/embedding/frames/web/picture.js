// Pictures, 8 bits a channel, and how they are resized. The arithmetic is Pillow's, to the last bit: the student was
// trained and judged with it. A picture is {width, height, channels, data: Uint8Array or Uint8ClampedArray}.

const SUPPORT = { bilinear: 1, bicubic: 2, lanczos: 3 };
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const FILTERS = {
  bilinear: (x) => (x < 1 ? 1 - x : 0),
  bicubic: (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0),
  lanczos: (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0),
};

export class InputError extends Error {}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Halves to even, as Python and numpy do.
export function rounded(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

export function picture(width, height, channels, value = 0) {
  return { width, height, channels, data: new Uint8Array(width * height * channels).fill(value) };
}

// One axis: what each output pixel takes of which input pixels, in 22 bits of fraction. Pillow's box is of floats.
function taps(size, from, to, out, filter) {
  from = Math.fround(from);
  const scale = Math.fround(Math.fround(to) - from) / out, wide = Math.max(scale, 1), support = SUPPORT[filter] * wide;
  return Array.from({ length: out }, (_, k) => {
    const centre = from + (k + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5)), high = Math.min(size, Math.trunc(centre + support + 0.5));
    const parts = Array.from({ length: high - low }, (_, x) => FILTERS[filter](Math.abs((x + low - centre + 0.5) * (1 / wide))));
    let sum = 0;
    for (const part of parts) sum += part;
    return { low, weights: Int32Array.from(parts, (part) => {
      const share = sum !== 0 ? part / sum : part;
      return Math.trunc((share < 0 ? -0.5 : 0.5) + share * (1 << 22));
    }) };
  });
}

function across(from, x0, x1, width, filter) {
  const out = picture(width, from.height, from.channels), n = from.channels, rows = taps(from.width, x0, x1, width, filter);
  for (let y = 0, to = 0; y < from.height; ++y)
    for (let x = 0; x < width; ++x) {
      const { low, weights } = rows[x], at = (y * from.width + low) * n;
      for (let c = 0; c < n; ++c, ++to) {
        let sum = 1 << 21;
        for (let k = 0; k < weights.length; ++k) sum += from.data[at + k * n + c] * weights[k];
        out.data[to] = clamp(sum >> 22, 0, 255);
      }
    }
  return out;
}

function down(from, y0, y1, height, filter) {
  const out = picture(from.width, height, from.channels), row = from.width * from.channels, sums = new Int32Array(row);
  taps(from.height, y0, y1, height, filter).forEach(({ low, weights }, y) => {
    sums.fill(1 << 21);
    weights.forEach((weight, k) => {
      const at = (low + k) * row;
      for (let x = 0; x < row; ++x) sums[x] += from.data[at + x] * weight;
    });
    for (let x = 0; x < row; ++x) out.data[y * row + x] = clamp(sums[x] >> 22, 0, 255);
  });
  return out;
}

export function resized(from, [x0, y0, x1, y1], width, height, filter) {
  if (filter === "nearest") {
    const out = picture(width, height, from.channels), step_x = (x1 - x0) / width, step_y = (y1 - y0) / height;
    for (let y = 0, y_at = y0 + step_y * 0.5; y < height; ++y, y_at += step_y)
      for (let x = 0, x_at = x0 + step_x * 0.5; x < width; ++x, x_at += step_x) {
        const at = clamp(Math.floor(y_at), 0, from.height - 1) * from.width + clamp(Math.floor(x_at), 0, from.width - 1);
        for (let c = 0; c < from.channels; ++c) out.data[(y * width + x) * from.channels + c] = from.data[at * from.channels + c];
      }
    return out;
  }
  const needs_across = width !== from.width || x0 !== 0 || x1 !== width, needs_down = height !== from.height || y0 !== 0 || y1 !== height;
  if (!needs_across) return needs_down ? down(from, y0, y1, height, filter) : from;
  if (!needs_down) return across(from, x0, x1, width, filter);
  // Between the two passes values are rounded, so their order shows. Measured of Pillow 13; earlier ones began across.
  const down_first = from.height > height && 2 * (from.width - width) < from.height - height;
  return down_first
    ? across(down(from, y0, y1, height, filter), x0, x1, width, filter)
    : down(across(from, x0, x1, width, filter), y0, y1, height, filter);
}

// Averages over blocks of pixels; those at the right and bottom edge may be smaller.
export function reduced(from, by_x, by_y) {
  const out = picture(Math.ceil(from.width / by_x), Math.ceil(from.height / by_y), from.channels), n = from.channels;
  for (let y = 0, to = 0; y < out.height; ++y)
    for (let x = 0; x < out.width; ++x) {
      const wide = Math.min(by_x, from.width - x * by_x), high = Math.min(by_y, from.height - y * by_y), pixels = wide * high;
      const share = Math.floor(Math.fround(4294967296 / (pixels * 256)));
      for (let c = 0; c < n; ++c, ++to) {
        let sum = Math.floor(pixels / 2);
        for (let j = 0; j < high; ++j)
          for (let i = 0; i < wide; ++i) sum += from.data[((y * by_y + j) * from.width + x * by_x + i) * n + c];
        out.data[to] = Math.floor((sum * share) / 16777216);
      }
    }
  return out;
}

// The box of a picture; outside of it its edge is repeated. A side that stays inside ends at the picture's edge.
export function cropped(from, [x0, y0, x1, y1], width, height, filter) {
  if (!(x1 - x0 >= 1) || !(y1 - y0 >= 1)) throw new InputError("the box is empty");
  if (x0 >= from.width || y0 >= from.height || x1 <= 0 || y1 <= 0) throw new InputError("the box lies outside of the picture");
  if (Math.max(x1 - x0, y1 - y0) > 8 * Math.max(from.width, from.height)) throw new InputError("the box is far larger than the picture");
  const reach_x = Math.ceil(3 * Math.max(1, (x1 - x0) / width)) + 1, reach_y = Math.ceil(3 * Math.max(1, (y1 - y0) / height)) + 1;
  let left = Math.floor(x0) - reach_x, right = Math.ceil(x1) + reach_x, top = Math.floor(y0) - reach_y, bottom = Math.ceil(y1) + reach_y;
  if (!(x0 < 0)) left = Math.max(left, 0);
  if (!(x1 > from.width)) right = Math.min(right, from.width);
  if (!(y0 < 0)) top = Math.max(top, 0);
  if (!(y1 > from.height)) bottom = Math.min(bottom, from.height);
  const n = from.channels, part = picture(right - left, bottom - top, n);
  for (let y = top, to = 0; y < bottom; ++y)
    for (let x = left; x < right; ++x) {
      const at = (clamp(y, 0, from.height - 1) * from.width + clamp(x, 0, from.width - 1)) * n;
      for (let c = 0; c < n; ++c, ++to) part.data[to] = from.data[at + c];
    }
  return resized(part, [x0 - left, y0 - top, x1 - left, y1 - top], width, height, filter);
}

// To the tensor's numbers, laid out as it takes them, with a batch axis of 1; each step rounds to float32.
export function normalized(from, tensor) {
  const { color, scale, mean, std } = tensor.image, channels = color === "L" ? 1 : 3, size = from.width * from.height;
  const planar = tensor.layout === "NCHW", data = new Float32Array(channels * size), factor = Math.fround(scale);
  for (let c = 0; c < channels; ++c) {
    const less = Math.fround(mean[c]), by = Math.fround(std[c]), source = color === "BGR" ? 2 - c : c;
    for (let k = 0; k < size; ++k) {
      const at = k * 3;
      const value = color === "L" ? (from.data[at] * 19595 + from.data[at + 1] * 38470 + from.data[at + 2] * 7471 + 0x8000) >> 16 : from.data[at + source];
      data[planar ? c * size + k : k * channels + c] = Math.fround(Math.fround(value * factor) - less) / by;
    }
  }
  return { shape: planar ? [1, channels, from.height, from.width] : [1, from.height, from.width, channels], data };
}

export const size_of = ({ layout, shape }) => (layout === "NCHW" ? [shape[3], shape[2]] : [shape[2], shape[1]]);
export const pictured = (graph) => graph.inputs.find((tensor) => tensor.image);

export function to_picture(raw, name) {
  if (!raw?.width) throw new InputError(`there is no picture for ${name}`);
  return raw;
}
