#include "CImageFiles.h"

#include <limits.h>
#include <stdlib.h>

#include <zlib.h>

struct graft_inflater {
  z_stream stream;
};

graft_inflater *graft_inflater_new(int gzip) {
  graft_inflater *inflater = calloc(1, sizeof *inflater);
  if (inflater && inflateInit2(&inflater->stream, gzip ? 15 + 16 : -15) != Z_OK) {
    free(inflater);
    return NULL;
  }
  return inflater;
}

void graft_inflater_free(graft_inflater *inflater) {
  if (inflater) inflateEnd(&inflater->stream);
  free(inflater);
}

void graft_inflater_reset(graft_inflater *inflater) { inflateReset(&inflater->stream); }

int graft_inflate(
    graft_inflater *inflater, const uint8_t **input, size_t *available, uint8_t *output, size_t capacity,
    size_t *written) {
  z_stream *stream = &inflater->stream;
  /* zlib counts in 32 bits. */
  uInt most_in = *available > UINT_MAX ? UINT_MAX : (uInt)*available;
  uInt most_out = capacity > UINT_MAX ? UINT_MAX : (uInt)capacity;
  stream->next_in = (Bytef *)*input;
  stream->avail_in = most_in;
  stream->next_out = output;
  stream->avail_out = most_out;
  int status = inflate(stream, Z_NO_FLUSH);
  *written = most_out - stream->avail_out;
  *input += most_in - stream->avail_in;
  *available -= most_in - stream->avail_in;
  if (status == Z_STREAM_END) return 1;
  /* No progress is no damage: the input may have ended. */
  return status == Z_OK || status == Z_BUF_ERROR ? 0 : -1;
}

uint32_t graft_crc32(uint32_t crc, const uint8_t *bytes, size_t count) {
  while (count > 0) {
    uInt part = count > UINT_MAX ? UINT_MAX : (uInt)count;
    crc = (uint32_t)crc32(crc, bytes, part);
    bytes += part;
    count -= part;
  }
  return crc;
}
