#ifndef PORT_MACOS_SYS_STAT_H
#define PORT_MACOS_SYS_STAT_H
/* The same struct, with that system's names in it. */
#define st_mtim		st_mtimespec
#include_next <sys/stat.h>
#undef st_mtim
#undef st_mtime
#define st_mtime	st_mtimespec.tv_sec
#endif
