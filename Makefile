# make                  all of it, into build/
# make check            unit tests
# make install          to the distribution's places, below DESTDIR
# make static           an nginx with Usher built in, from NGINX_SRC
# make test-module      the module with t/module in it, for the journal's tests
#
# Variants: CC=clang, SAN=1 (address and undefined behaviour), BUILD=<dir>.
# "make check" and util/test say how to run them.

CC         = gcc
SAN        =
BUILD      = build$(if $(SAN),-san)$(if $(filter clang%,$(CC)),-clang)
NGINX_DEV  = /usr/share/nginx/src
NGINX_SRC  =
DESTDIR    =

SHELL     := /bin/bash
TOP       := $(CURDIR)
OUT       := $(abspath $(BUILD))

ifeq ($(SAN),)
OPT        = -O2 -D_FORTIFY_SOURCE=2
LDOPT      = -Wl,-z,relro -Wl,-z,now
else
OPT        = -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined \
             -fno-omit-frame-pointer -DUSHER_SAN=1
LDOPT      = -fsanitize=address,undefined
endif

HARDEN     = -g -fstack-protector-strong -Wformat -Werror=format-security -fPIC
WARN       = -Wall -Wextra -Werror
PKG        = libpq hiredis jansson inih libcrypto

CFLAGS     = -std=gnu11 -D_GNU_SOURCE $(HARDEN) $(OPT) $(WARN) -Isrc/common \
             $(shell pkg-config --cflags $(PKG) libcurl)
LIBS       = $(shell pkg-config --libs $(PKG)) -lm
CURL       = $(shell pkg-config --libs libcurl)
LDFLAGS    = $(LDOPT)

COMMON    := $(wildcard src/common/*.c)
DAEMON    := $(wildcard src/daemon/*.c src/daemon/platform/*.c)
CTL       := $(wildcard src/ctl/*.c)
UNIT      := $(wildcard t/unit/*.c)
FILTERS   := t/fuzz/encode.c t/fuzz/split.c
EDGE      := $(wildcard src/common/*.[ch] src/edge/*.[ch])

LIBCOMMON  = $(OUT)/libusher_common.a
MODULE     = ngx_http_usher_module.so
TESTS      = $(UNIT:t/unit/%.c=$(OUT)/unit/%)
PROGRAMS   = $(if $(DAEMON),$(OUT)/usherd) $(if $(CTL),$(OUT)/usherctl)
OBJS       = $(patsubst %.c,$(OUT)/obj/%.o,$(COMMON) $(DAEMON) $(CTL) $(UNIT) \
             $(FILTERS) t/tool/unseal.c t/tool/http.c)

NGINX_CC   = --with-cc='$(CC)' --with-cc-opt='$(HARDEN) $(OPT) -Wdate-time' \
             --with-ld-opt='$(LDOPT) -fPIC'


all: $(if $(wildcard src/edge/*.c),$(OUT)/$(MODULE)) $(PROGRAMS) $(TESTS) \
     $(FILTERS:t/fuzz/%.c=$(OUT)/%) $(OUT)/unseal $(OUT)/http

module: $(OUT)/$(MODULE)

check: $(TESTS)
	prove -e '' $(TESTS)

clean:
	rm -rf $(OUT)

.PHONY: all module check clean install static test-module always
.DELETE_ON_ERROR:
.SECONDARY:


# ---- what a build was made with: another compiler or flags begin anew

$(OUT)/flags: always
	@mkdir -p $(OUT)
	@echo '$(CC) $(HARDEN) $(OPT) $(LDOPT)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@


# ---- daemon, ctl, unit tests

$(OUT)/obj/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIBCOMMON): $(COMMON:%.c=$(OUT)/obj/%.o)
	@rm -f $@
	$(AR) rcs $@ $^

$(OUT)/usherd: $(DAEMON:%.c=$(OUT)/obj/%.o) $(LIBCOMMON)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(CURL)

$(OUT)/usherctl: $(CTL:%.c=$(OUT)/obj/%.o) $(LIBCOMMON)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(OUT)/unit/%: $(OUT)/obj/t/unit/%.o $(LIBCOMMON)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(FILTERS:t/fuzz/%.c=$(OUT)/%): $(OUT)/%: $(OUT)/obj/t/fuzz/%.o $(LIBCOMMON)
	$(CC) $(LDFLAGS) -o $@ $^

$(OUT)/unseal: $(OUT)/obj/t/tool/unseal.o $(LIBCOMMON)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(OUT)/http: $(OUT)/obj/t/tool/http.o $(OUT)/obj/src/daemon/http.o $(LIBCOMMON)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(CURL)

-include $(OBJS:.o=.d)


# ---- the module, by nginx's own configure, which is only run again when
# what it read has changed; conf_flags are those of the distribution's nginx

$(OUT)/nginx/Makefile: config src/edge/exports.map $(OUT)/flags $(OUT)/sources
	rm -rf $(@D)
	mkdir -p $(@D)
	cd $(NGINX_DEV) && . ./conf_flags \
	    && ./configure "$${NGX_CONF_FLAGS[@]}" $(NGINX_CC) \
	        --add-dynamic-module=$(TOP) --builddir=$(@D) > $(@D)/log \
	    || { tail -20 $(@D)/log; rm -f $@; exit 1; }

$(OUT)/$(MODULE): $(OUT)/nginx/Makefile $(EDGE)
	$(MAKE) -f $< -C $(NGINX_DEV) modules
	cp -f $(OUT)/nginx/$(MODULE) $@.new
	mv -f $@.new $@

# names of the sources: a file that came or went needs a new configure, and
# config names each

$(OUT)/sources: always
	@mkdir -p $(OUT)
	@for file in $(notdir $(filter-out %.h,$(EDGE))); do \
	    grep -q "/$$file" config \
	        || { echo "config does not name $$file"; exit 1; }; \
	done
	@echo '$(EDGE)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@


# ---- the module with the tests' own in it

$(OUT)/test/Makefile: config src/edge/exports.map $(OUT)/flags $(OUT)/sources
	rm -rf $(@D)
	mkdir -p $(@D)
	cd $(NGINX_DEV) && . ./conf_flags \
	    && USHER_TEST_MODULE=yes ./configure "$${NGX_CONF_FLAGS[@]}" \
	        $(NGINX_CC) --add-dynamic-module=$(TOP) --builddir=$(@D) \
	        > $(@D)/log \
	    || { tail -20 $(@D)/log; rm -f $@; exit 1; }

test-module: $(OUT)/test/Makefile
	$(MAKE) -f $< -C $(NGINX_DEV) modules


# ---- nginx with Usher built in; the tree is copied, its own is left alone

$(OUT)/static/Makefile: config $(OUT)/flags $(OUT)/sources
	@test -f '$(NGINX_SRC)/src/core/nginx.c' \
	    || { echo 'NGINX_SRC=<nginx source tree> is needed'; exit 1; }
	rm -rf $(OUT)/static
	cp -a $(NGINX_SRC) $(OUT)/static
	rm -rf $(OUT)/static/Makefile $(OUT)/static/objs
	cd $(OUT)/static \
	    && ./`ls configure auto/configure 2> /dev/null | head -1` \
	    $(NGINX_CC) --with-compat --with-debug --with-threads \
	    --with-pcre-jit --with-http_ssl_module \
	    --with-http_v2_module --with-http_realip_module \
	    --with-http_auth_request_module --with-http_slice_module \
	    --with-http_stub_status_module --with-http_addition_module \
	    --with-http_sub_module --add-module=$(TOP) > configure.log \
	    || { tail -20 configure.log; rm -f $@; exit 1; }

static: $(OUT)/static/Makefile
	$(MAKE) -C $(OUT)/static build
	cp -f $(OUT)/static/objs/nginx $(OUT)/nginx-static


# ---- the distribution's places

SHARE      = $(DESTDIR)/usr/share/usher
DOC        = $(DESTDIR)/usr/share/doc/usher

# what is there keeps the mode that the administrator gave it

KEPT       = $(DESTDIR)/etc/usher $(DESTDIR)/var/lib/usher

install: all
	install -D -m 644 $(OUT)/$(MODULE) \
	    $(DESTDIR)/usr/lib/nginx/modules/$(MODULE)
	install -D -m 644 conf/mod-http-usher.conf \
	    $(DESTDIR)/usr/share/nginx/modules-available/mod-http-usher.conf
	install -D -m 755 $(OUT)/usherd $(DESTDIR)/usr/sbin/usherd
	install -D -m 755 $(OUT)/usherctl $(DESTDIR)/usr/bin/usherctl
	install -D -m 644 conf/usherd.service \
	    $(DESTDIR)/usr/lib/systemd/system/usherd.service
	install -D -m 644 conf/usher.sysusers \
	    $(DESTDIR)/usr/lib/sysusers.d/usher.conf
	for dir in $(KEPT); do [ -d $$dir ] || install -d $$dir; done
	install -D -m 755 util/migrate $(SHARE)/util/migrate
	install -D -m 755 util/keygen $(SHARE)/util/keygen
	install -d $(SHARE)/sql $(DOC)/conf
	install -m 644 sql/*.sql $(SHARE)/sql
	install -m 644 conf/bots.list $(SHARE)/bots.list
	install -m 644 conf/*.conf conf/README.md $(DOC)/conf
	install -m 644 README.md CHANGELOG.md LICENSE $(DOC)
