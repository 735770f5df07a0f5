// Picture files: PPM and PGM always, PNG and JPEG where CMake found their libraries. JPEG's EXIF orientation is not
// applied: give pictures that are stored upright.
#pragma once

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#ifdef APP_HAS_PNG
#include <png.h>
#endif
#ifdef APP_HAS_JPEG
#include <csetjmp>
#include <jpeglib.h>
#endif

#include "picture.hpp"

// alpha: of a PNG its transparency, where it is asked for.
inline Picture read_picture(const std::string& path, Picture* alpha = nullptr) {
  std::ifstream file(path, std::ios::binary);
  unsigned char start[2] = {0, 0};
  if (!file.read(reinterpret_cast<char*>(start), 2)) throw InputError(path + " cannot be read: no such file, or it is empty");
  if (start[0] == 'P' && (start[1] == '6' || start[1] == '5')) {
    int numbers[3] = {0, 0, 0};
    for (int& number : numbers) {
      while (file >> std::ws && file.peek() == '#') file.ignore(4096, '\n');
      file >> number;
    }
    file.get();
    if (!file || numbers[0] < 1 || numbers[1] < 1 || numbers[2] != 255 || static_cast<long>(numbers[0]) * numbers[1] > 100000000)
      throw InputError(path + " is no picture of 8 bits and at most 100 million pixels");
    const int channels = start[1] == '6' ? 3 : 1;
    Picture picture(numbers[0], numbers[1], channels);
    file.read(reinterpret_cast<char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
    if (!file) throw InputError(path + " is shorter than it says");
    return picture;
  }
#ifdef APP_HAS_PNG
  if (start[0] == 0x89) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    if (png_image_begin_read_from_file(&image, path.c_str()) == 0) throw InputError(path + " cannot be read: " + image.message);
    const bool transparent = (image.format & PNG_FORMAT_FLAG_ALPHA) != 0;
    image.format = PNG_FORMAT_RGBA;
    Picture whole(static_cast<int>(image.width), static_cast<int>(image.height), 4);
    if (png_image_finish_read(&image, nullptr, whole.pixels.data(), 0, nullptr) == 0) throw InputError(path + " cannot be read: " + image.message);
    Picture picture(whole.width, whole.height, 3);
    if (alpha != nullptr && transparent) *alpha = Picture(whole.width, whole.height, 1);
    for (std::size_t k = 0; k * 4 < whole.pixels.size(); ++k) {
      const std::uint8_t* pixel = &whole.pixels[k * 4];
      for (std::size_t c = 0; c < 3; ++c)  // over white
        picture.pixels[k * 3 + c] = static_cast<std::uint8_t>((pixel[c] * pixel[3] + 255 * (255 - pixel[3]) + 127) / 255);
      if (alpha != nullptr && transparent) alpha->pixels[k] = pixel[3];
    }
    return picture;
  }
#endif
#ifdef APP_HAS_JPEG
  if (start[0] == 0xff && start[1] == 0xd8) {
    struct Failed : jpeg_error_mgr {
      std::jmp_buf back;
    } failed{};
    jpeg_decompress_struct reader{};
    reader.err = jpeg_std_error(&failed);
    failed.error_exit = [](j_common_ptr common) { std::longjmp(static_cast<Failed*>(common->err)->back, 1); };
    std::FILE* opened = std::fopen(path.c_str(), "rb");
    static Picture picture;  // of the process: a jump passes by destructors
    if (opened == nullptr || setjmp(failed.back) != 0) {
      if (opened != nullptr) std::fclose(opened);
      jpeg_destroy_decompress(&reader);
      throw InputError(path + " cannot be read: it is damaged");
    }
    jpeg_create_decompress(&reader);
    jpeg_stdio_src(&reader, opened);
    jpeg_read_header(&reader, TRUE);
    reader.out_color_space = JCS_RGB;
    jpeg_start_decompress(&reader);
    picture = Picture(static_cast<int>(reader.output_width), static_cast<int>(reader.output_height), 3);
    while (reader.output_scanline < reader.output_height) {
      JSAMPROW row = picture.at(0, static_cast<int>(reader.output_scanline));
      jpeg_read_scanlines(&reader, &row, 1);
    }
    jpeg_finish_decompress(&reader);
    jpeg_destroy_decompress(&reader);
    std::fclose(opened);
    return picture;
  }
#endif
  throw InputError(path + " is not a picture that this build reads: PPM, and PNG and JPEG where their libraries were found");
}

inline void write_ppm(const std::string& path, const Picture& picture) {
  std::ofstream file(path, std::ios::binary);
  file << (picture.channels == 3 ? "P6 " : "P5 ") << picture.width << ' ' << picture.height << " 255\n";
  file.write(reinterpret_cast<const char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
  if (!file) throw InputError("cannot write " + path);
}
