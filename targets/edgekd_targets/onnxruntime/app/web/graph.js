// ONNX Runtime in WebAssembly: named arrays in, named arrays out. Its build needs SIMD; threads are used where the
// server's headers allow them.

import * as ort from "/ort/ort.wasm.bundle.min.mjs";

// The smallest module with a SIMD instruction, of which a browser says whether it could run it.
const SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]);

export const has_simd = () => typeof WebAssembly === "object" && WebAssembly.validate(SIMD);
export const threads = () => (globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1);

export async function load(spec) {
  if (!has_simd()) throw new Error("this browser has no WebAssembly SIMD, which ONNX Runtime needs: use a browser of 2021 or later");
  ort.env.wasm.wasmPaths = "/ort/";
  ort.env.wasm.numThreads = threads();
  const session = await ort.InferenceSession.create(`model/${spec.file}`, { executionProviders: ["wasm"] });
  return {
    async run(feeds) {
      const named = Object.fromEntries(Object.entries(feeds).map(([name, { shape, data }]) => [name, new ort.Tensor("float32", data, shape)]));
      const outputs = await session.run(named);
      return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, { shape: [...tensor.dims], data: tensor.data }]));
    },
  };
}
