#ifndef PORT_OPENBSD_UNISTD_H
#define PORT_OPENBSD_UNISTD_H
#include_next <unistd.h>
/* unveil(2) and pledge(2) that always succeed. */
static inline int
unveil(const char *path, const char *permissions)
{
	return path == NULL || permissions == NULL ? -1 : 0;
}
static inline int
pledge(const char *promises, const char *exec)
{
	return promises == NULL || exec != NULL ? -1 : 0;
}
#endif
