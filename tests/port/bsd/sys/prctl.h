#error "no sys/prctl.h here"
