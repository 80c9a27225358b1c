#include "CImageFiles.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

typedef struct {
  struct jpeg_error_mgr manager;
  jmp_buf jump;
  char *message;
} errors;

static void fail(j_common_ptr jpeg) {
  errors *e = (errors *)jpeg->err;
  char text[JMSG_LENGTH_MAX];
  jpeg->err->format_message(jpeg, text);
  strncpy(e->message, text, graft_message_size - 1);
  e->message[graft_message_size - 1] = 0;
  longjmp(e->jump, 1);
}

/* Bytes between markers lose nothing, and cameras write them; every other warning means that pixels are made up. */
static void warn(j_common_ptr jpeg, int level) {
  if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA) fail(jpeg);
}

static void be_silent(j_common_ptr jpeg) { (void)jpeg; }

int graft_jpeg_read(const uint8_t *bytes, size_t count, graft_picture *picture, uint8_t *pixels, char *message) {
  struct jpeg_decompress_struct jpeg;
  errors e = {.message = message};
  jpeg.err = jpeg_std_error(&e.manager);
  e.manager.error_exit = fail;
  e.manager.emit_message = warn;
  e.manager.output_message = be_silent;
  volatile int result = -1;
  /* Creation itself may fail, and destroys only what it made where the structure was zero before. */
  memset((char *)&jpeg + sizeof jpeg.err, 0, sizeof jpeg - sizeof jpeg.err);
  if (setjmp(e.jump) == 0) {
    jpeg_create_decompress(&jpeg);
    jpeg.mem->max_memory_to_use = 1 << 30;
    jpeg_mem_src(&jpeg, bytes, count);
    jpeg_read_header(&jpeg, TRUE);
    if (jpeg.num_components == 1) {
      jpeg.out_color_space = JCS_GRAYSCALE;
    } else if (jpeg.num_components == 3) {
      jpeg.out_color_space = JCS_RGB;
    } else {
      strcpy(message, "is neither grey nor red, green and blue");
      goto end;
    }
    picture->width = jpeg.image_width;
    picture->height = jpeg.image_height;
    picture->channels = jpeg.num_components;
    if (pixels) {
      jpeg_start_decompress(&jpeg);
      size_t stride = (size_t)jpeg.output_width * jpeg.output_components;
      while (jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = pixels + jpeg.output_scanline * stride;
        jpeg_read_scanlines(&jpeg, &row, 1);
      }
      jpeg_finish_decompress(&jpeg);
    }
    result = 0;
  }
end:
  jpeg_destroy_decompress(&jpeg);
  return result;
}
