#include_next <fcntl.h>
/* Linux refuses it with EINVAL, as a file system there may. */
#define F_FULLFSYNC	51
