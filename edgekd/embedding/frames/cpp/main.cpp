// The command line: app NAME=PATH ..., app --verify, app --bench SECONDS.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <thread>

#include "app.hpp"
#include "files.hpp"
#include "verify.hpp"

namespace {

const std::string kFolder = APP_FOLDER;

int threads() { return config::threads > 0 ? config::threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

Array numbers_of(const std::string& text, char between) {
  std::vector<float> values;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, between);) {
    char* end = nullptr;
    values.push_back(std::strtof(part.c_str(), &end));
    if (end == part.c_str() || *end != '\0') throw InputError("'" + part + "' is no number");
  }
  return make_array<float>({values.size()}, values);
}

// The raw items of the command line; how each input is read is config::inputs.
std::vector<Arrays> items(const std::map<std::string, std::string>& given) {
  std::vector<Arrays> made(1);
  for (const auto& [name, text] : given) {
    const auto known = config::inputs().find(name);
    if (known == config::inputs().end()) throw InputError(name + " is no input of this student");
    const std::string kind = known->second.substr(0, known->second.find_first_of(" ?"));
    if (kind == "box") {
      made[0][name] = numbers_of(text, ',');
    } else if (kind == "rows") {
      std::ifstream file(text);
      if (!file) throw InputError(text + " cannot be read");
      made.clear();
      for (std::string line; std::getline(file, line);)
        if (!line.empty()) made.push_back({{name, numbers_of(line, ',')}});
    } else if (kind == "frames" && std::filesystem::is_directory(text)) {
      std::vector<std::string> files;
      for (const auto& file : std::filesystem::directory_iterator(text)) files.push_back(file.path().string());
      std::sort(files.begin(), files.end());
      made.clear();
      for (std::size_t k = 0; k < files.size(); ++k)
        made.push_back({{name, to_array(read_picture(files[k]))},
                        {"sequence", make_array<std::int64_t>({}, {0})},
                        {"frame", make_array<std::int64_t>({}, {static_cast<std::int64_t>(k)})}});
    } else if (kind == "mask") {
      Picture alpha;
      const Picture picture = read_picture(text, &alpha);
      Picture mask = alpha.width > 0 ? alpha : Picture(picture.width, picture.height, 1);
      if (alpha.width == 0)
        for (std::size_t k = 0; k < mask.pixels.size(); ++k)
          mask.pixels[k] = *std::max_element(&picture.pixels[k * static_cast<std::size_t>(picture.channels)], &picture.pixels[k * static_cast<std::size_t>(picture.channels)] + picture.channels);
      made[0][name] = to_array(mask);
    } else {
      Picture alpha;
      made[0][name] = to_array(read_picture(text, &alpha));
      for (const auto& [other, how] : config::inputs())
        if (how == "mask of " + name && given.count(other) == 0) {
          if (alpha.width == 0) throw InputError(text + " has no mask: give " + other + "=MASK");
          made[0][other] = to_array(alpha);
        }
    }
  }
  for (const auto& [name, how] : config::inputs())
    if (how.find_first_of(" ?") == std::string::npos && given.count(name) == 0) throw InputError(name + "=PATH is missing");
  return made;
}

void print(const Arrays& result) {
  std::cout << '{';
  const char* comma = "";
  for (const auto& [name, value] : result) {
    std::cout << comma << '"' << name << "\": ";
    comma = ", ";
    if (value.kind == 'U') {
      std::cout << '"' << std::string(value.bytes.begin(), value.bytes.end()) << '"';
    } else if (value.kind == 'u' && value.shape.size() == 3) {
      std::cout << '"' << value.shape[1] << 'x' << value.shape[0] << " px\"";
    } else if (value.shape.empty()) {
      std::cout << value.at(0);
    } else {
      std::cout << '[';
      const std::size_t rows = value.shape.size() > 1 ? value.shape[0] : 1, each = rows == 0 ? 0 : value.count() / rows;
      for (std::size_t k = 0; k < rows; ++k) {
        if (value.shape.size() > 1) std::cout << (k == 0 ? "[" : ", [");
        for (std::size_t j = 0; j < each; ++j) std::cout << (j == 0 ? "" : ", ") << value.at(k * each + j);
        if (value.shape.size() > 1) std::cout << ']';
      }
      std::cout << ']';
    }
  }
  std::cout << '}' << std::endl;
}

// Milliseconds of the app's own loop over the vectors: the first result from loading on, then p50 and p90.
void bench(double seconds) {
  using Clock = std::chrono::steady_clock;
  const std::vector<Arrays> raws = samples_of(arrays_in(kFolder + "/vectors/raw"));
  const auto since = [](Clock::time_point then) { return std::chrono::duration<double, std::milli>(Clock::now() - then).count(); };
  auto begun = Clock::now();
  Student student(kFolder + "/model", threads());
  student.predict(raws[0]);
  const double first = since(begun);
  std::vector<double> times;
  double sum = 0;
  while (sum < seconds * 1e3 || times.size() < 10) {
    begun = Clock::now();
    student.predict(raws[times.size() % raws.size()]);
    times.push_back(since(begun));
    sum += times.back();
  }
  std::sort(times.begin(), times.end());
  std::printf("{\"first_ms\": %g, \"p50_ms\": %g, \"p90_ms\": %g, \"calls\": %zu}\n", first, times[times.size() / 2],
              times[times.size() * 9 / 10], times.size());
}

}  // namespace

int main(int count, char** arguments) {
  try {
    std::map<std::string, std::string> given;
    std::string out;
    for (int k = 1; k < count; ++k) {
      const std::string text = arguments[k];
      if (text == "--verify") {
        Student student(kFolder + "/model", threads());
        return verify(student, kFolder + "/vectors") ? 0 : 3;
      }
      if (text == "--bench" && k + 1 < count) {
        bench(std::atof(arguments[k + 1]));
        return 0;
      }
      if (text == "--out" && k + 1 < count) {
        out = arguments[++k];
        continue;
      }
      const std::size_t equals = text.find('=');
      given[equals == std::string::npos ? config::first_input : text.substr(0, equals)] = text.substr(equals + 1);
    }
    if (given.empty()) throw InputError("give NAME=PATH, --verify or --bench SECONDS");
    Student student(kFolder + "/model", threads());
    for (const Arrays& raw : items(given)) {
      const Arrays result = student.predict(raw);
      print(result);
      for (const auto& [name, value] : result)
        if (!out.empty() && value.kind == 'u' && value.shape.size() == 3 && name != "warped_cloth") write_ppm(out, to_picture(value, name));
    }
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 2;
  }
  return 0;
}
