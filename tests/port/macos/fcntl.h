#ifndef PORT_MACOS_FCNTL_H
#define PORT_MACOS_FCNTL_H
#include_next <fcntl.h>
/* Linux refuses it with EINVAL, as a file system of macOS may. */
#define F_FULLFSYNC	51
#endif
