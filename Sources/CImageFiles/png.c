#include "CImageFiles.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  jmp_buf jump;
  char *message;
  const uint8_t *bytes;
  size_t left;
  uint8_t *made;
  size_t made_count, made_capacity;
} state;

static void fail(png_structp png, png_const_charp text) {
  state *s = png_get_error_ptr(png);
  strncpy(s->message, text ? text : "unknown error", graft_message_size - 1);
  s->message[graft_message_size - 1] = 0;
  longjmp(s->jump, 1);
}

static void ignore(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static void give(png_structp png, png_bytep to, size_t count) {
  state *s = png_get_io_ptr(png);
  if (count > s->left) png_error(png, "ends too early");
  memcpy(to, s->bytes, count);
  s->bytes += count;
  s->left -= count;
}

int graft_png_read(const uint8_t *bytes, size_t count, graft_picture *picture, uint8_t *pixels, char *message) {
  /* volatile: set after setjmp and read after longjmp. */
  png_structp volatile png = NULL;
  png_infop volatile info = NULL;
  png_bytep *volatile rows = NULL;
  state s = {.message = message, .bytes = bytes, .left = count};
  volatile int result = -1;
  if (setjmp(s.jump) == 0) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &s, fail, ignore);
    info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
      strcpy(message, "out of memory");
      goto end;
    }
    png_set_read_fn(png, &s, give);
    png_set_user_limits(png, 16384, 16384);
    png_set_chunk_malloc_max(png, 8 << 20);
    png_set_chunk_cache_max(png, 128);
    png_read_info(png, info);
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    picture->width = png_get_image_width(png, info);
    picture->height = png_get_image_height(png, info);
    picture->channels = png_get_channels(png, info);
    size_t stride = (size_t)picture->width * picture->channels;
    if (png_get_rowbytes(png, info) != stride || (picture->channels != 1 && picture->channels != 3))
      png_error(png, "has an unknown kind of pixels");
    if (pixels) {
      rows = malloc(picture->height * sizeof *rows);
      if (!rows) png_error(png, "out of memory");
      for (uint32_t y = 0; y < picture->height; y++) rows[y] = pixels + y * stride;
      for (int pass = 0; pass < passes; pass++) png_read_rows(png, rows, NULL, picture->height);
      png_read_end(png, NULL);
    }
    result = 0;
  }
end:;
  png_structp made_png = png;
  png_infop made_info = info;
  png_destroy_read_struct(&made_png, &made_info, NULL);
  free(rows);
  return result;
}

static void take(png_structp png, png_bytep from, size_t count) {
  state *s = png_get_io_ptr(png);
  if (s->made_capacity - s->made_count < count) {
    size_t capacity = 2 * s->made_capacity + count + 4096;
    uint8_t *larger = realloc(s->made, capacity);
    if (!larger) png_error(png, "out of memory");
    s->made = larger;
    s->made_capacity = capacity;
  }
  memcpy(s->made + s->made_count, from, count);
  s->made_count += count;
}

static void nothing(png_structp png) { (void)png; }

int graft_png_write(
    const graft_picture *picture, const uint8_t *pixels, uint8_t **bytes, size_t *count, char *message) {
  png_structp volatile png = NULL;
  png_infop volatile info = NULL;
  state s = {.message = message};
  volatile int result = -1;
  if (setjmp(s.jump) == 0) {
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &s, fail, ignore);
    info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
      strcpy(message, "out of memory");
      goto end;
    }
    png_set_write_fn(png, &s, take, nothing);
    png_set_IHDR(
        png, info, picture->width, picture->height, 8, picture->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY,
        PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    size_t stride = (size_t)picture->width * picture->channels;
    for (uint32_t y = 0; y < picture->height; y++) png_write_row(png, pixels + y * stride);
    png_write_end(png, info);
    result = 0;
  }
end:;
  png_structp made_png = png;
  png_infop made_info = info;
  png_destroy_write_struct(&made_png, &made_info);
  if (result == 0) {
    *bytes = s.made;
    *count = s.made_count;
  } else {
    free(s.made);
  }
  return result;
}
