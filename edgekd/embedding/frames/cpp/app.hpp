// The student: what an app calls.
#pragma once

#include <memory>
#include <string>

#include "config.hpp"
#include "runtime.hpp"
#include "student.hpp"

// One graph; state is carried from call to call, from zeros.
class Loaded {
 public:
  Loaded(const std::string& folder, const GraphSpec& graph, int threads) : spec(graph), graph_(folder, graph, config::precision, threads) { reset(); }

  // A new sequence begins.
  void reset() {
    for (const auto& pair : spec.state)
      for (const TensorSpec& input : spec.inputs)
        if (input.name == pair.second) {
          std::vector<std::size_t> shape(input.shape.begin(), input.shape.end());
          state_[input.name] = make_array<float>(shape);
        }
  }

  // Outputs by name, state kept back.
  Arrays run(Arrays feeds) {
    feeds.insert(held.begin(), held.end());
    feeds.insert(state_.begin(), state_.end());
    Arrays outputs = graph_.run(feeds);
    for (const auto& pair : spec.state) {
      state_[pair.second] = std::move(outputs.at(pair.first));
      outputs.erase(pair.first);
    }
    return outputs;
  }

  const GraphSpec spec;
  Arrays held;

 private:
  Graph graph_;
  Arrays state_;
};

// Loads the bundle once; predict is one raw input to one decoded result. Give a video's frames in their order.
class Student {
 public:
  explicit Student(std::string folder, int threads) : folder_(std::move(folder)), threads_(threads), main(load("main")) {}

  void reset() {
    main.reset();
    started_ = false;
  }

  Arrays predict(const Arrays& raw) {
    if (restarts(raw, started_ ? &before_ : nullptr)) main.reset();
    before_ = raw;
    started_ = true;
    return postprocess(main.run(preprocess(raw, main.spec)), raw, main.spec);
  }

  // The graph that runs for every frame, and once what it holds the outputs of.
  Loaded& live(const std::string& name) {
    if (live_.count(name) == 0) live_.emplace(name, std::make_unique<Loaded>(load(name)));
    return *live_.at(name);
  }

  void prepare(const Arrays& feeds, const std::string& name) {
    Arrays given;
    Loaded& frame = live(name);
    for (const auto& pair : frame.spec.held) {
      const std::string source = pair.second.substr(0, pair.second.find('/'));
      if (given.count(pair.second) != 0) continue;
      Loaded& graph = live(source);
      Arrays own;
      for (const TensorSpec& input : graph.spec.inputs) own[input.name] = need(feeds, input.name);
      for (auto& [output, value] : graph.run(own)) given[source + "/" + output] = value;
    }
    for (const auto& pair : frame.spec.held) frame.held[pair.first] = given.at(pair.second);
  }

  // As predict, with what was prepared.
  Arrays frame(const Arrays& raw, const std::string& name) {
    Loaded& graph = live(name);
    return postprocess(graph.run(preprocess(raw, graph.spec)), raw, graph.spec);
  }

 private:
  Loaded load(const std::string& name) const {
    for (const GraphSpec& graph : config::graphs())
      if (graph.name == name) return Loaded(folder_, graph, threads_);
    throw InputError("there is no graph " + name);
  }

  std::string folder_;
  int threads_;
  Arrays before_;
  bool started_ = false;
  std::map<std::string, std::unique_ptr<Loaded>> live_;

 public:
  Loaded main;
};
