#ifndef PORT_BSD_FCNTL_H
#define PORT_BSD_FCNTL_H
#include_next <fcntl.h>
#undef O_TMPFILE
#undef O_PATH
#undef AT_EMPTY_PATH
#pragma GCC poison sync_file_range fallocate splice O_TMPFILE O_PATH \
    AT_EMPTY_PATH
#endif
