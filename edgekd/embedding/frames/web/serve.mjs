// Serves this folder on localhost: node serve.mjs [PORT]. The headers let WebAssembly use threads, and let the page
// talk to nothing but this server.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const folder = dirname(fileURLToPath(import.meta.url));
const runtime = join(folder, "node_modules", "onnxruntime-web", "dist");
const types = {
  ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".wasm": "application/wasm",
};
const threads = process.env.APP_NO_THREADS ? {} : {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
  const file = path.startsWith("/ort/") ? join(runtime, path.slice(5)) : join(folder, path === "/" ? "index.html" : path);
  const headers = {
    ...threads,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy":
      "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; img-src 'self' blob: data:; media-src 'self' blob:",
  };
  try {
    if (path.includes("..") || !statSync(file).isFile()) throw new Error("no file");
    response.writeHead(200, { ...headers, "Content-Type": types[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  } catch {
    response.writeHead(404, headers).end("not found");
  }
});
server.listen(Number(process.argv[2] ?? 8000), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
