// Everything that this app computes, against what the bundle recorded at export.
#pragma once

#include <cmath>
#include <filesystem>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "app.hpp"

constexpr double kNever = std::numeric_limits<double>::infinity();

inline Arrays arrays_in(const std::filesystem::path& folder) {
  Arrays made;
  if (std::filesystem::is_directory(folder))
    for (const auto& file : std::filesystem::directory_iterator(folder))
      if (file.path().extension() == ".npy") made[file.path().stem().string()] = read_npy(file.path().string());
  return made;
}

inline std::vector<Arrays> samples_of(const Arrays& stacked) {
  std::vector<Arrays> samples(static_cast<std::size_t>(config::samples));
  for (const auto& [name, value] : stacked)
    for (std::size_t k = 0; k < samples.size(); ++k) samples[k][name] = value[k];
  return samples;
}

// max|a-b| / max(1, max|b|); of pictures in grey levels over 255, beyond the one that rounding may cost.
inline double distance(const Array& found, const Array& recorded) {
  if (found.kind != recorded.kind || found.shape != recorded.shape) return kNever;
  if (recorded.kind == 'U' || recorded.shape.empty()) return found.bytes == recorded.bytes ? 0 : kNever;
  double gap = 0, most = 1;
  for (std::size_t k = 0; k < recorded.count(); ++k) {
    const double a = found.at(k), b = recorded.at(k);
    if (!std::isfinite(a) || !std::isfinite(b)) return kNever;
    gap = std::max(gap, std::abs(a - b));
    most = std::max(most, std::abs(b));
  }
  return recorded.kind == 'u' ? std::max(0.0, gap - 1) / 255 : gap / most;
}

inline double distance(const Arrays& found, const Arrays& recorded) {
  double far = 0;
  for (const auto& [name, value] : recorded) far = std::max(far, found.count(name) == 0 ? kNever : distance(found.at(name), value));
  return far;
}

// Each box to its nearest on the other side, whatever their order. One whose score is within limit of the least may be
// on one side alone: another rounding decides on it.
inline double boxes_distance(const Arrays& found, const Arrays& recorded, double limit) {
  const auto one_way = [limit](const Arrays& some, const Arrays& others, double least) {
    double far = 0;
    const std::size_t n = some.at("scores").count(), m = others.at("scores").count();
    double most = 1;
    for (std::size_t k = 0; k < 5 * m; ++k) most = std::max(most, std::abs(others.at("boxes").at(k)));
    for (std::size_t k = 0; k < n; ++k) {
      if (some.at("scores").at(k) <= least + limit) continue;
      double nearest = kNever;
      for (std::size_t j = 0; j < m; ++j) {
        if (some.at("boxes").at(5 * k) != others.at("boxes").at(5 * j)) continue;
        double gap = std::abs(some.at("scores").at(k) - others.at("scores").at(j));
        for (std::size_t c = 1; c < 5; ++c) gap = std::max(gap, std::abs(some.at("boxes").at(5 * k + c) - others.at("boxes").at(5 * j + c)) / most);
        nearest = std::min(nearest, gap);
      }
      far = std::max(far, nearest);
    }
    return far;
  };
  const Array &ours = need(found, "scores"), &theirs = need(recorded, "scores");
  if (ours.count() == 0 || theirs.count() == 0) return ours.count() == theirs.count() ? 0 : kNever;
  const double least = std::max(ours.at(ours.count() - 1), theirs.at(theirs.count() - 1));
  return std::max(one_way(found, recorded, least), one_way(recorded, found, least));
}

inline bool told(const std::string& name, double found, double limit) {
  std::cout << (found <= limit ? "ok   " : "FAIL ") << name << ": " << found << ", limit " << limit << std::endl;
  return found <= limit;
}

inline bool verify(Student& student, const std::filesystem::path& vectors) {
  const std::vector<Arrays> raws = samples_of(arrays_in(vectors / "raw")), feeds = samples_of(arrays_in(vectors / "feeds"));
  const std::vector<Arrays> outputs = samples_of(arrays_in(vectors / "outputs"));
  std::vector<Arrays> results, more_raws, more_feeds, more_outputs, more_results;
  for (int k = 0; k < config::samples; ++k) {
    char number[16];
    std::snprintf(number, sizeof number, "%03d", k);
    results.push_back(arrays_in(vectors / "results" / number));
    if (!std::filesystem::is_directory(vectors / "varied" / number)) continue;
    more_raws.push_back(arrays_in(vectors / "varied" / number / "raw"));
    more_feeds.push_back(arrays_in(vectors / "varied" / number / "feeds"));
    more_outputs.push_back(arrays_in(vectors / "varied" / number / "outputs"));
    more_results.push_back(arrays_in(vectors / "varied" / number / "results"));
  }

  double gap = 0, shift = 0, decoded = 0, said = 0, whole = 0;
  const auto prepared = [&](const Arrays& raw, const Arrays& wanted) {
    const Arrays made = preprocess(raw, student.main.spec);
    for (const auto& [name, value] : wanted) {
      const Array& own = need(made, name);
      if (own.shape != value.shape) gap = kNever;
      double sum = 0;
      for (std::size_t k = 0; k < value.count() && gap < kNever; ++k) {
        gap = std::max(gap, std::abs(own.at(k) - value.at(k)));
        sum += own.at(k) - value.at(k);
      }
      double level = 1;  // of grey, in the tensor's numbers
      for (const TensorSpec& input : student.main.spec.inputs)
        if (input.name == name && !input.image.empty()) level = static_cast<double>(input.image[0].scale / input.image[0].std[0]);
      // Two resamplers' rounding cancels out in the mean, another constant does not.
      shift = std::max(shift, std::abs(sum / static_cast<double>(value.count()) / level));
    }
  };
  for (std::size_t k = 0; k < raws.size(); ++k) prepared(raws[k], feeds[k]);
  for (std::size_t k = 0; k < more_raws.size(); ++k) prepared(more_raws[k], more_feeds[k]);
  bool sound = told("pre-processing, largest gap", gap, config::feeds_tolerance);
  sound = told("pre-processing, shift of the mean in grey levels", shift, config::feeds_shift) && sound;

  student.reset();
  for (std::size_t k = 0; k < feeds.size(); ++k) said = std::max(said, distance(student.main.run(feeds[k]), outputs[k]));
  sound = told("outputs", said, config::outputs_tolerance) && sound;

  for (std::size_t k = 0; k < raws.size(); ++k)
    decoded = std::max(decoded, distance(postprocess(outputs[k], raws[k], student.main.spec), results[k]));
  for (std::size_t k = 0; k < more_raws.size(); ++k)
    decoded = std::max(decoded, distance(postprocess(more_outputs[k], more_raws[k], student.main.spec), more_results[k]));
  sound = told("post-processing", decoded, config::decoded_tolerance) && sound;

  student.reset();
  const double limit = std::max(config::outputs_tolerance, config::decoded_tolerance);
  for (std::size_t k = 0; k < raws.size(); ++k) {
    const Arrays found = student.predict(raws[k]);
    const bool listed = results[k].count("boxes") != 0 && results[k].count("scores") != 0;
    whole = std::max(whole, listed ? boxes_distance(found, results[k], limit) : distance(found, results[k]));
  }
  sound = told("result", whole, limit) && sound;

  for (const auto& [name, tolerance] : config::live_tolerances()) {
    const std::vector<Arrays> wanted = samples_of(arrays_in(vectors / "live" / name));
    double far = 0;
    for (std::size_t k = 0; k < feeds.size(); ++k) {
      student.prepare(feeds[k], name);
      Arrays own;
      for (const TensorSpec& input : student.live(name).spec.inputs)
        if (!student.live(name).spec.filled(input.name)) own[input.name] = feeds[k].at(input.name);
      far = std::max(far, distance(student.live(name).run(own), wanted[k]));
    }
    sound = told("outputs of " + name + ", prepared", far, tolerance) && sound;
  }
  student.reset();
  return sound;
}
