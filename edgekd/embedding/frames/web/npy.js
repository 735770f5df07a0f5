// numpy's .npy files: {shape, data}, a typed array, or for text a string as data.

const TYPES = {
  "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array, "<i4": Int32Array, "|u1": Uint8Array, "|b1": Uint8Array,
};

export async function read_npy(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const buffer = await response.arrayBuffer(), length = new DataView(buffer).getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, 10, length));
  const type = /'descr': '([^']+)'/.exec(header)[1], shape = (/\(([^)]*)\)/.exec(header)[1].match(/\d+/g) ?? []).map(Number);
  const body = buffer.slice(10 + length);
  if (type.startsWith("<U")) return { shape, data: String.fromCodePoint(...new Uint32Array(body)).replaceAll("\0", "") };
  if (!TYPES[type]) throw new Error(`${url}: an array of ${type}`);
  return { shape, data: new TYPES[type](body) };
}

// Element k of the first axis.
export function row({ shape, data }, k) {
  const step = data.length / shape[0];
  return { shape: shape.slice(1), data: data.slice(k * step, (k + 1) * step) };
}

// An array of a raw item as a student takes it: 8-bit ones are pictures, single numbers are numbers.
export function to_raw({ shape, data }) {
  if (data instanceof Uint8Array && shape.length >= 2) return { width: shape[1], height: shape[0], channels: shape[2] ?? 1, data };
  return shape.length === 0 ? Number(data[0]) : Array.from(data, Number);
}
