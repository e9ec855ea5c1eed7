#error "no sys/inotify.h here"
