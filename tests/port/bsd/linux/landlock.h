#error "no linux/landlock.h here"
