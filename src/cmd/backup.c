#include "cmd/command.h"
int cmd_backup(const Config *config)
{
    (void)config;
    return ERR_INTERNAL;
}
