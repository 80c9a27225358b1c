/* zlib, libpng and libjpeg behind functions that return: the last two report errors by longjmp, which must not cross
   Swift's frames. Nothing here prints. */
#ifndef GRAFT_IMAGE_FILES_H
#define GRAFT_IMAGE_FILES_H

#include <stddef.h>
#include <stdint.h>

/* What a picture is: its size and 1 channel (grey) or 3 (red, green, blue). */
typedef struct {
  uint32_t width, height, channels;
} graft_picture;

enum { graft_message_size = 256 };

/* Reads what the picture is, and with `pixels`, room for height x width x channels bytes, the picture itself. An alpha
   channel is dropped; 16 bits are cut to their upper 8; palettes become colours. Returns 0, or -1 with a message. */
int graft_png_read(const uint8_t *bytes, size_t count, graft_picture *picture, uint8_t *pixels, char *message);

/* Makes a PNG of 8 bits a channel. `*bytes` is to be freed with free(). Returns 0, or -1 with a message. */
int graft_png_write(const graft_picture *picture, const uint8_t *pixels, uint8_t **bytes, size_t *count, char *message);

/* As graft_png_read. Data that ends early or is damaged is an error, where libjpeg would warn and fill in grey. */
int graft_jpeg_read(const uint8_t *bytes, size_t count, graft_picture *picture, uint8_t *pixels, char *message);

/* Unpacks deflated bytes piece by piece. */
typedef struct graft_inflater graft_inflater;

/* With `gzip`, for bytes in gzip's frame with its checksum, else for bare ones as zip files hold. NULL without memory. */
graft_inflater *graft_inflater_new(int gzip);
void graft_inflater_free(graft_inflater *inflater);

/* Unpacks into `output` from `*input` on, and moves both past what was used. Returns 1 at the end of the data, 0 before
   it, -1 for damaged data. */
int graft_inflate(
    graft_inflater *inflater, const uint8_t **input, size_t *available, uint8_t *output, size_t capacity,
    size_t *written);

/* Prepares for another run of data, as when one gzip file has been put behind another. */
void graft_inflater_reset(graft_inflater *inflater);

/* CRC-32 as gzip and zip have it; begin with 0. */
uint32_t graft_crc32(uint32_t crc, const uint8_t *bytes, size_t count);

#endif
