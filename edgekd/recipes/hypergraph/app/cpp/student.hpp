// Vertex classification: from a row of features to a label.
#pragma once

#include <algorithm>
#include <cmath>

#include "config.hpp"
#include "array.hpp"

inline bool restarts(const Arrays&, const Arrays*) { return false; }

inline Arrays preprocess(const Arrays& raw, const GraphSpec& graph) {
  const TensorSpec& input = graph.inputs.front();
  const Array& row = need(raw, "features");
  if (row.shape.size() != 1 || static_cast<long>(row.count()) != input.shape[1])
    throw InputError("the row has " + std::to_string(row.count()) + " features, the model takes " + std::to_string(input.shape[1]));
  Array made = make_array<float>({1, row.count()});
  double sum = 0;
  for (std::size_t k = 0; k < row.count(); ++k) {
    const auto value = static_cast<float>(row.at(k));
    if (!std::isfinite(value)) throw InputError("a feature is NaN or infinite");
    made.as<float>()[k] = value;
    sum += static_cast<double>(std::abs(value));
  }
  if (input.normalization == "l1" && sum > 0)
    for (std::size_t k = 0; k < row.count(); ++k) made.as<float>()[k] = static_cast<float>(made.as<float>()[k] / sum);
  return {{input.name, made}};
}

// label, class (its number) and probability (C,).
inline Arrays postprocess(const Arrays& outputs, const Arrays&, const GraphSpec& graph) {
  const TensorSpec& output = graph.outputs.front();
  const Array& logits = need(outputs, output.name);
  const std::size_t count = logits.count();
  std::size_t best = 0;
  for (std::size_t k = 1; k < count; ++k)
    if (logits.at(k) > logits.at(best)) best = k;
  double sum = 0;
  for (std::size_t k = 0; k < count; ++k) sum += std::exp(logits.at(k) - logits.at(best));
  Array shares = make_array<float>({count});
  for (std::size_t k = 0; k < count; ++k) shares.as<float>()[k] = static_cast<float>(std::exp(logits.at(k) - logits.at(best)) / sum);
  const std::string label = output.classes.empty() ? std::to_string(best) : output.classes[best];
  return {{"class", make_array<std::int64_t>({}, {static_cast<std::int64_t>(best)})}, {"label", make_text(label)}, {"probability", shares}};
}
