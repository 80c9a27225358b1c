/// AVX2 decoders of GGUF's blocks of one to three bits and of those whose four bits choose a level.
///
/// A part of avx2.c, which includes this amid its own decoders.

/// The levels in `table` of the sixteen low nibbles at `codes` and of the sixteen high ones.
GRAFT_INLINE void nibble_levels(const uint8_t *codes, const int8_t *table, __m128i *low, __m128i *high) {
  const __m128i packed = _mm_loadu_si128((const __m128i *)codes), mask = _mm_set1_epi8(15);
  const __m128i all = _mm_loadu_si128((const __m128i *)table);
  *low = _mm_shuffle_epi8(all, _mm_and_si128(packed, mask));
  *high = _mm_shuffle_epi8(all, _mm_and_si128(_mm_srli_epi16(packed, 4), mask));
}

/// Sixteen bytes of nibbles: low nibbles are the levels of the first sixteen values, high nibbles of the last.
GRAFT_INLINE void table_levels(const uint8_t *codes, const int8_t *table, run *out) {
  __m128i low, high;
  nibble_levels(codes, table, &low, &high);
  widen_bytes(_mm256_set_m128i(high, low), true, out);
}

GRAFT_INLINE void decode_q1_0(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 18 * block;
  out->scale = broadcast_f16(p);
  const __m256i set = bits_as_bytes(p + 2 + 4 * j);
  // A set bit is 1 and a clear one -1.
  widen_bytes(_mm256_sub_epi8(_mm256_and_si256(set, _mm256_set1_epi8(2)), _mm256_set1_epi8(1)), true, out);
}

GRAFT_INLINE void decode_q2_0(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 18 * block;
  out->scale = broadcast_f16(p);
  // Each byte's four codes go to the four bytes of its lane; what else comes along falls to the mask.
  const __m256i wide = widen8(p + 2 + 8 * j);
  const __m256i first = _mm256_or_si256(wide, _mm256_slli_epi32(wide, 6));
  const __m256i spread = _mm256_or_si256(first, _mm256_slli_epi32(first, 12));
  unsigned_bytes(_mm256_and_si256(spread, _mm256_set1_epi8(3)), out);
}

/// Run `j` of the 2-bit codes at `codes`: 32 bytes hold the runs of half a block, from their lowest bits up.
GRAFT_INLINE __m256i bit_pairs(const uint8_t *codes, size_t j) {
  const __m256i packed = _mm256_loadu_si256((const __m256i *)(codes + 32 * (j / 4)));
  return _mm256_and_si256(_mm256_srli_epi16(packed, 2 * (int)(j % 4)), _mm256_set1_epi8(3));
}

GRAFT_INLINE void open_q2_k(row_view row, size_t block, sub_blocks *out) {
  const uint8_t *p = row.bytes + 84 * block;
  const __m256 d = broadcast_f16(p + 80), lower = _mm256_xor_ps(broadcast_f16(p + 82), _mm256_set1_ps(-0.0f));
  for (int k = 0; k < 2; k++) {
    const __m256i packed = widen8(p + 8 * k);
    const __m256 scales = _mm256_cvtepi32_ps(_mm256_and_si256(packed, _mm256_set1_epi32(15)));
    _mm256_storeu_ps(out->numbers + 8 * k, _mm256_mul_ps(d, scales));
    const __m256 minima = _mm256_cvtepi32_ps(_mm256_srli_epi32(packed, 4));
    _mm256_storeu_ps(out->numbers + 16 + 8 * k, _mm256_mul_ps(lower, minima));
  }
}

GRAFT_INLINE void decode_q2_k(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  out->scale = _mm256_broadcast_ss(shared->numbers + 2 * j);
  out->second = _mm256_broadcast_ss(shared->numbers + 2 * j + 1);
  out->minimum = _mm256_broadcast_ss(shared->numbers + 16 + 2 * j);
  out->second_minimum = _mm256_broadcast_ss(shared->numbers + 16 + 2 * j + 1);
  unsigned_bytes(bit_pairs(row.bytes + 84 * block + 16, j), out);
}

GRAFT_INLINE void open_q3_k(row_view row, size_t block, sub_blocks *out) {
  const uint8_t *p = row.bytes + 110 * block;
  const uint32_t a = load_u32(p + 96), b = load_u32(p + 100), c = load_u32(p + 104);
  const uint32_t four = 0x0f0f0f0f, two = 0x03030303;
  const uint32_t s0 = (a & four) | (c & two) << 4, s1 = (b & four) | ((c >> 2) & two) << 4;
  const uint32_t s2 = ((a >> 4) & four) | ((c >> 4) & two) << 4, s3 = ((b >> 4) & four) | ((c >> 6) & two) << 4;
  const __m128i integers = _mm_sub_epi8(_mm_setr_epi32((int)s0, (int)s1, (int)s2, (int)s3), _mm_set1_epi8(32));
  const __m256 d = broadcast_f16(p + 108);
  const __m256i first = _mm256_cvtepi8_epi32(integers);
  const __m256i second = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(integers, integers));
  _mm256_storeu_ps(out->numbers, _mm256_mul_ps(d, _mm256_cvtepi32_ps(first)));
  _mm256_storeu_ps(out->numbers + 8, _mm256_mul_ps(d, _mm256_cvtepi32_ps(second)));
}

GRAFT_INLINE void decode_q3_k(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 110 * block;
  out->scale = _mm256_broadcast_ss(shared->numbers + 2 * j);
  out->second = _mm256_broadcast_ss(shared->numbers + 2 * j + 1);
  const __m256i high = _mm256_loadu_si256((const __m256i *)p);
  const __m256i moved = j < 2 ? _mm256_slli_epi16(high, 2 - (int)j) : _mm256_srli_epi16(high, (int)j - 2);
  unsigned_bytes(_mm256_or_si256(bit_pairs(p + 32, j), _mm256_and_si256(moved, _mm256_set1_epi8(4))), out);
}

GRAFT_INLINE void decode_iq4_nl(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 18 * block;
  out->scale = broadcast_f16(p);
  table_levels(p + 2, graft_iq4_table, out);
}

GRAFT_INLINE void open_iq4_xs(row_view row, size_t block, sub_blocks *out) {
  const uint8_t *p = row.bytes + 136 * block;
  const __m256i twice = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
  const __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(load_u16(p + 2)), twice);
  const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)load_u32(p + 4)), _mm256_add_epi32(twice, twice));
  const __m256i integers = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                           _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4));
  const __m256 scales = _mm256_cvtepi32_ps(_mm256_sub_epi32(integers, _mm256_set1_epi32(32)));
  _mm256_storeu_ps(out->numbers, _mm256_mul_ps(broadcast_f16(p), scales));
}

GRAFT_INLINE void decode_iq4_xs(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  out->scale = _mm256_broadcast_ss(shared->numbers + j);
  table_levels(row.bytes + 136 * block + 8 + 16 * j, graft_iq4_table, out);
}

GRAFT_INLINE void decode_mxfp4(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 17 * block;
  out->scale = _mm256_set1_ps(half_power(p[0]));
  table_levels(p + 1, graft_fp4_table, out);
}

GRAFT_INLINE void decode_nvfp4(row_view row, size_t block, size_t j, const sub_blocks *shared, run *out) {
  const uint8_t *p = row.bytes + 36 * block;
  out->scale = _mm256_set1_ps(half_scale(p[2 * j]));
  out->second = _mm256_set1_ps(half_scale(p[2 * j + 1]));
  // Eight bytes hold sixteen values, so the halves of both levels take turns.
  __m128i low, high;
  nibble_levels(p + 4 + 16 * j, graft_fp4_table, &low, &high);
  widen_bytes(_mm256_set_m128i(_mm_unpackhi_epi64(low, high), _mm_unpacklo_epi64(low, high)), true, out);
}
