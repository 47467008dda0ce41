/*
 * version.h: the program's version, from configure.ac.
 */
#ifndef PITR_BASE_VERSION_H
#define PITR_BASE_VERSION_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifdef PACKAGE_VERSION
#define PITR_VERSION PACKAGE_VERSION
#else
#define PITR_VERSION "unknown"
#endif

#endif
