/*
 * usher_version.h - the version that all programs and modules name.
 */


#ifndef USHER_VERSION_H
#define USHER_VERSION_H


#define USHER_VERSION  "0.1.0"


#endif
