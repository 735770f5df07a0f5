// The student: what an app calls. predict is one raw input to one decoded result; give a video's frames in their order.

import { GRAPHS } from "./config.js";
import { load } from "./graph.js";
import { postprocess, preprocess, restarts } from "./student.js";

// One graph; state is carried from call to call, from zeros.
class Loaded {
  static async of(name) {
    const made = new Loaded();
    made.spec = GRAPHS[name];
    made.graph = await load(made.spec);
    made.held = {};
    made.reset();
    return made;
  }

  // A new sequence begins.
  reset() {
    this.state = {};
    for (const input of Object.values(this.spec.state)) {
      const { shape } = this.spec.inputs.find((tensor) => tensor.name === input);
      this.state[input] = { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
    }
  }

  // Outputs by name, state kept back.
  async run(feeds) {
    const outputs = await this.graph.run({ ...feeds, ...this.held, ...this.state });
    for (const [output, input] of Object.entries(this.spec.state)) {
      this.state[input] = outputs[output];
      delete outputs[output];
    }
    return outputs;
  }
}

export class Student {
  static async load() {
    const made = new Student();
    made.main = await Loaded.of("main");
    made.before = null;
    made.graphs = {};
    return made;
  }

  reset() {
    this.main.reset();
    this.before = null;
  }

  async predict(raw) {
    if (restarts(raw, this.before)) this.main.reset();
    this.before = raw;
    return postprocess(await this.main.run(preprocess(raw, this.main.spec)), raw, this.main.spec);
  }

  // The graph that runs for every frame, and once what it holds the outputs of.
  async live(name) {
    return (this.graphs[name] ??= await Loaded.of(name));
  }

  async prepare(feeds, name) {
    const given = {}, frame = await this.live(name);
    for (const source of new Set(Object.values(frame.spec.held).map((place) => place.split("/")[0]))) {
      const graph = await this.live(source);
      const outputs = await graph.run(Object.fromEntries(graph.spec.inputs.map(({ name: input }) => [input, feeds[input]])));
      for (const [output, value] of Object.entries(outputs)) given[`${source}/${output}`] = value;
    }
    for (const [input, place] of Object.entries(frame.spec.held)) frame.held[input] = given[place];
  }

  // As prepare, from what the page was given.
  async prepare_from(raw, name) {
    const sources = new Set(Object.values(GRAPHS[name].held).map((place) => place.split("/")[0]));
    const feeds = [...sources].map((source) => preprocess(raw, GRAPHS[source]));
    await this.prepare(Object.assign({}, ...feeds), name);
  }

  // As predict, with what was prepared.
  async frame(raw, name) {
    const graph = await this.live(name);
    return postprocess(await graph.run(preprocess(raw, graph.spec)), raw, graph.spec);
  }
}
