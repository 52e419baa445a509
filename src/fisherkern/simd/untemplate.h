#undef REAL
#undef MATH
#undef FK_MATH_FLOAT
#undef FK_DTYPE
#undef NAME
#undef FK_JOIN
#undef FK_JOIN_
#undef FK_INLINE
#undef FK_REAL_IS_DOUBLE
#ifdef FK_TILE
#undef FK_TILE
#endif
