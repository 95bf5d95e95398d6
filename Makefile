# SPDX-License-Identifier: GPL-2.0-only
#
# vram: one GNU Makefile for everything; the module's own is Kbuild, which `make
# modules` calls. `make help` lists the targets.
#
# Nothing here names a source file: sources are found by where they are.
#
#   daemon/*.c                 build/vramd (with what it shares with the module)
#   Kbuild, kmod/*             build/kmod-KVER/vram.ko
#   common/*.c                 an archive; whoever needs a member gets it
#   libclient/*.c              build/libvram.so.0 and build/libvram.a
#   libclient/preload/*.c      build/libvram-preload.so
#   libclient/cudashim/*.c     build/cuda/libcuda.so.1
#   libclient/pytorch/*.c      build/libvram-torch.so
#   libclient/examples/X.c     build/examples/X
#   tools/X/*.c                build/X
#   tools/shared/*.c           an archive for them
#   tools/X/bpf/X.bpf.c        build/bpf/X.skel.h, programs for the kernel that build/X has in it
#   tests/{unit,conformance,integration,limits,trace,cuda,kmod}/test_X.c
#                              one program each, below build/tests/
#   tests/{stress,bench,gpu}/X.c
#                              a program if it has a `links:` line (bench: an
#                              underscore becomes a dash in the program's name)
#   tests/fuzz/fuzz_X.c        build/fuzz/X, clang's libFuzzer
#   tests/cuda-standin/*.c     build/cuda-standin/lib{cuda,nvidia-ml}.so.1, for tests alone
#
# A test program links only what it names near its top, which proves the
# layering (tests/support/links.awk reads these lines):
#
#   // links: kmod/ledger.c common/err.c libvram.a
#   // libs: -ljansson
#
# Variables: V=1 shows commands. CC=gcc|clang. SAN=address|thread|undefined
# builds with that sanitizer into a folder of its own. B=DIR builds somewhere
# else: several people or compilers in one tree take one each. WERROR= lets
# warnings pass. prefix, libdir, sysconfdir and DESTDIR are as everywhere.
# Every source sees _GNU_SOURCE and VRAM_VERSION; daemon/ and tools/ see VRAM_LIBDIR (where the
# shim is installed) and VRAM_SYSCONFDIR.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
# The list of tests, which is included before it, has rules of its own.
.DEFAULT_GOAL := all

VERSION := 0.1.0
SOVERSION := 0

SAN ?=
SAN_NAME := $(if $(SAN),-$(subst undefined,ub,$(subst thread,t,$(subst address,a,$(SAN))))san)
B ?= build$(SAN_NAME)
V ?= 0
WERROR ?= 1
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
BPFTOOL ?= $(or $(shell command -v bpftool 2>/dev/null),/usr/sbin/bpftool)
AR ?= ar
OBJCOPY ?= objcopy
PKG_CONFIG ?= pkg-config
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

prefix ?= /usr/local
bindir ?= $(prefix)/bin
sbindir ?= $(prefix)/sbin
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
datadir ?= $(prefix)/share
mandir ?= $(datadir)/man
sysconfdir ?= $(if $(filter /usr /usr/local,$(prefix)),/etc,$(prefix)/etc)
unitdir ?= $(prefix)/lib/systemd/system
udevdir ?= $(if $(filter /usr/local,$(prefix)),/etc,$(prefix)/lib)/udev/rules.d
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
catalogdir ?= $(prefix)/lib/systemd/catalog

# What to run: one name filter for bench, seconds for every fuzzer and stress
# test, and the suites of `make check`.
BENCH ?=
FUZZ_SECONDS ?= 10
STRESS_SECONDS ?= 5
GPU_PARTS ?=
SUITES ?= style unit model conformance integration limits trace cuda stress fuzz kmod
TESTS ?=

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),@:,@printf '  %-8s%s\n' '$(1)' '$(2)')

# ---- flags -------------------------------------------------------------------

FOREIGN := liburing inih jansson libxxhash libcap-ng libsystemd libdrm libmicrohttpd ncursesw libbpf check
BUILDS := $(filter-out deb deps deps-% help clean distclean format check-style check check-% demo \
	demo-kmod uninstall modules modules_install install-dkms,$(or $(MAKECMDGOALS),all))
MISSING := $(if $(BUILDS),$(shell for p in $(FOREIGN); do $(PKG_CONFIG) --exists $$p 2>/dev/null || echo $$p; done))
ifneq ($(MISSING),)
$(error missing libraries: $(MISSING). `make deps` installs them, or says how)
endif
pkg = $(shell $(PKG_CONFIG) $(1) 2>/dev/null)

OPT ?= -O2
CFLAGS ?= $(OPT) -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	$(if $(filter 1,$(WERROR)),-Werror)
# Behind its instrumentation gcc no longer sees what is initialised.
WARN += $(if $(SAN),$(if $(findstring clang,$(CC)),,-Wno-maybe-uninitialized))
HARDEN := -fstack-protector-strong $(if $(SAN),,$(if $(filter -O2 -O3 -Os,$(CFLAGS)),-D_FORTIFY_SOURCE=2))
comma := ,
SAN_FLAGS_address := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SAN_FLAGS_undefined := -fsanitize=undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SAN_FLAGS_thread := -fsanitize=thread -fno-omit-frame-pointer
SAN_FLAGS := $(if $(SAN),$(or $(SAN_FLAGS_$(SAN)),$(error SAN=$(SAN): one of address, thread, undefined)))

# One set of objects serves programs and shared library alike: with everything
# hidden but the public functions, position-independent code costs nothing.
BASE := -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread -I. -DVRAM_VERSION='"$(VERSION)"' \
	$(WARN) $(sort $(call pkg,--cflags $(FOREIGN)))
FLAGS = $(BASE) $(HARDEN) $(CFLAGS) $(CPPFLAGS)
DIR_FLAGS := -DVRAM_LIBDIR='"$(libdir)/vram"' -DVRAM_SYSCONFDIR='"$(sysconfdir)/vramd"'
LINK = -pthread -Wl,--as-needed -Wl,-z,relro,-z,now $(LDFLAGS)
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

DAEMON_LIBS = $(call pkg,--libs liburing inih jansson libxxhash libcap-ng libsystemd libmicrohttpd)
CLIENT_LIBS = $(call pkg,--libs jansson libxxhash)
TOOL_LIBS = $(CLIENT_LIBS) $(call pkg,--libs libdrm)
# What one tool alone needs.
TOOL_LIBS_vramtop = $(call pkg,--libs ncursesw)
TOOL_LIBS_vramtrace = $(call pkg,--libs libbpf)
CHECK_LIBS = $(call pkg,--libs check)

# ---- what there is -----------------------------------------------------------

COMMON_SRC := $(wildcard common/*.c)
LEDGER_SRC := $(wildcard kmod/ledger*.c kmod/group.c kmod/pressure.c kmod/stall.c)
DAEMON_SRC := $(wildcard daemon/*.c)
CLIENT_SRC := $(wildcard libclient/*.c)
PRELOAD_SRC := $(wildcard libclient/preload/*.c)
CUDASHIM_SRC := $(wildcard libclient/cudashim/*.c)
TORCH_SRC := $(wildcard libclient/pytorch/*.c)
EXAMPLE_SRC := $(wildcard libclient/examples/*.c)
TOOL_SHARED_SRC := $(wildcard tools/shared/*.c)
TOOLS := $(sort $(foreach f,$(filter-out tools/shared/%,$(wildcard tools/*/*.c)),$(word 2,$(subst /, ,$(f)))))

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
# A shim inside somebody else's program cannot be instrumented.
plain = $(patsubst %.c,$(B)/$(if $(SAN),plain,obj)/%.o,$(1))

DAEMON := $(if $(wildcard daemon/main.c),$(B)/vramd)
LIBS := $(if $(CLIENT_SRC),$(B)/libvram.so.$(SOVERSION) $(B)/libvram.so $(B)/libvram.a)
PRELOAD := $(if $(PRELOAD_SRC),$(B)/libvram-preload.so)
CUDASHIM := $(if $(CUDASHIM_SRC),$(B)/cuda/libcuda.so.1 $(B)/cuda/libcuda.so)
TORCH := $(if $(TORCH_SRC),$(B)/libvram-torch.so)
EXAMPLES := $(patsubst libclient/examples/%.c,$(B)/examples/%,$(EXAMPLE_SRC))
TOOL_BINS := $(addprefix $(B)/,$(TOOLS))
STATIC := $(if $(CLIENT_SRC),$(B)/libvram.a)
STANDIN_SRC := $(filter-out tests/cuda-standin/nvml.c,$(wildcard tests/cuda-standin/*.c))
STANDIN := $(if $(STANDIN_SRC),$(addprefix $(B)/cuda-standin/,libcuda.so.1 libnvidia-ml.so.1))

TEST_SRC := $(wildcard tests/unit/*.c tests/conformance/*.c tests/integration/*.c \
	tests/stress/*.c tests/bench/*.c tests/fuzz/*.c tests/kmod/*.c \
	tests/cuda/*.c tests/gpu/*.c tests/limits/*.c tests/trace/*.c)
ifneq ($(BUILDS),)
$(shell mkdir -p $(B) && t=$$(mktemp $(B)/tests.mk.XXXXXX) && \
	awk -f tests/support/links.awk $(TEST_SRC) </dev/null >$$t && \
	{ cmp -s $$t $(B)/tests.mk && rm -f $$t || mv -f $$t $(B)/tests.mk; })
-include $(B)/tests.mk
endif

HAVE_CLANG := $(shell command -v $(CLANG) 2>/dev/null)

# ---- targets -----------------------------------------------------------------

.PHONY: all objects tests fuzz benches deps deps-kasan check check-asan check-tsan check-ubsan \
	check-style bench demo install uninstall clean distclean help format complete

all: $(DAEMON) $(LIBS) $(PRELOAD) $(TORCH) $(CUDASHIM) $(EXAMPLES) $(TOOL_BINS)

# Every source on its own, whether something links it already or not.
objects: $(call obj,$(COMMON_SRC) $(LEDGER_SRC) $(DAEMON_SRC) $(CLIENT_SRC) $(PRELOAD_SRC) $(CUDASHIM_SRC) $(TORCH_SRC) \
	$(EXAMPLE_SRC) $(wildcard tools/*/*.c) $(filter-out tests/fuzz/%,$(TEST_SRC)) \
	$(wildcard tests/support/*.c))

tests: all $(TEST_PROGS) $(STANDIN) $(if $(SAN),,$(B)/tests/failnth.so)

benches: all $(BENCH_PROGS)

fuzz: $(if $(HAVE_CLANG),$(FUZZ_PROGS))

# A test that names a source that is not there is left out of the build; it must
# not be left out of the count.
complete:
	$(Q)test -z '$(strip $(TEST_BROKEN))' || \
		{ printf 'not built: %s\n' $(TEST_BROKEN); exit 1; }

help:
	@printf '%s\n' \
	'make deps         install the Debian packages of packaging/deps.debian' \
	'make              vramd, libvram, the tools and the examples into $(B)/' \
	'make check        packages, build, style and every test suite but the benchmarks' \
	'                  SUITES="unit fuzz" TESTS=pattern FUZZ_SECONDS=n STRESS_SECONDS=n' \
	'make check-asan   the tests with AddressSanitizer and UBSan (check-tsan, check-ubsan)' \
	'make check-style  formatting, include directions, licences, scripts' \
	'make modules      vram.ko for the running kernel or the newest installed headers' \
	'                  (KVER=, KDIR=; W=1 and C=2 as in the kernel); modules_install' \
	'make check-kmod   the tests of the module in a virtual machine; KERNEL=6.1|6.12|sid' \
	'make check-limits the tests of limits, over the ledger in vramd and over the module' \
	'make check-trace  vramtrace over vramd, and over the module; attached and detached 100 times' \
	'make check-cuda   the tests of a card, on a driver that stands in for one' \
	'make check-drm    vramctl devices on a virtual machine with GPUs; KERNEL=6.1|6.12|sid' \
	'make check-kasan  the same under KASAN, lockdep, kmemleak and failing allocations' \
	'make deb          the Debian packages, into $(B)/deb' \
	'make check-deb    the same, and installed, tried and removed in a clean root; BOOT=1 boots it, too' \
	'make check-dkms   build the module through dkms; install-dkms puts its source there' \
	'make demo-kmod    the demonstration in the virtual machine, over /dev/vram' \
	'make demo         two language models and a third client in too little memory' \
	'make check-gpu    everything that only a real card can show; GPU_PARTS="questions bench"' \
	'make gpu-bundle   what check-gpu needs, for a machine with a card but without our packages' \
	'make bench        benchmarks, one JSON object a line; BENCH=name selects' \
	'make format       let clang-format rewrite the tracked sources' \
	'make install      prefix=$(prefix) libdir=$(libdir) DESTDIR=$(DESTDIR); uninstall' \
	'make clean        remove $(B)/ but the kernels in it; distclean' \
	'V=1 shows commands; SAN=address|thread|undefined, CC=gcc|clang, B=DIR select a build'

deps:
	$(Q)packaging/install-deps.sh packaging/deps.debian

deps-kasan: deps
	$(Q)packaging/install-deps.sh packaging/deps-kasan.debian

# The packages may come only now, so everything that looks for them is a make of
# its own.
SUB = $(MAKE) $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS))
RUN = FUZZ_SECONDS=$(FUZZ_SECONDS) STRESS_SECONDS=$(STRESS_SECONDS) SAN=$(SAN) \
	tests/run.sh -b $(B) $(foreach t,$(TESTS),-f '$(t)')

check: deps
	$(Q)$(SUB) tests benches fuzz complete
	$(Q)$(RUN) $(SUITES)

check-asan check-tsan check-ubsan: check-%: deps
	$(Q)$(MAKE) check-built SAN=$(or $(SANITIZER_$*),$(error no sanitizer $*))
SANITIZER_asan := address
SANITIZER_tsan := thread
SANITIZER_ubsan := undefined

.PHONY: check-cuda
check-cuda:
	$(Q)$(MAKE) check SUITES=cuda

.PHONY: check-built
check-built:
	$(Q)$(SUB) tests complete
	$(Q)$(RUN) $(filter-out style model fuzz kmod,$(SUITES))

check-style:
	$(Q)tests/run.sh -b $(B) style

bench: deps
	$(Q)$(SUB) benches complete
	$(Q)tests/run.sh -b $(B) -f '$(or $(BENCH),*)' bench

demo: deps
	$(Q)$(SUB) all
	$(Q)if [ -x tests/support/fetch_models.sh ]; then tests/support/fetch_models.sh; fi
	$(Q)VRAM_BUILD=$(abspath $(B)) tests/demo/run.sh

# ---- a real card ----------------------------------------------------------------

.PHONY: check-gpu gpu-bundle
# The machine with the card may have nothing to build with: then what was carried there is used.
check-gpu:
	$(Q)if command -v $(firstword $(CC)) >/dev/null && $(PKG_CONFIG) --exists $(FOREIGN) 2>/dev/null; then \
		$(SUB) tests benches; \
	else \
		echo 'not all that building needs is here: using what is in $(B)'; \
	fi
	$(Q)tests/gpu/check_gpu.sh -b $(B) $(GPU_PARTS) || [ $$? = 77 ]

# The same objects, linked once more so that programs find their libraries beside themselves.
BUNDLE_LINK = -Wl,--disable-new-dtags,-rpath,\$$$$ORIGIN/lib:\$$$$ORIGIN/../lib:\$$$$ORIGIN/../../lib
gpu-bundle:
	$(Q)$(SUB) tests benches complete
	$(Q)mkdir -p $(B)/gpu && ln -sfn ../obj $(B)/gpu/obj && cp -p $(B)/.flags $(B)/.dirs $(B)/gpu/
	$(Q)$(SUB) B=$(B)/gpu LDFLAGS='$(BUNDLE_LINK)' tests benches
	$(Q)tests/gpu/bundle.sh $(B)/gpu $(B)/gpu-bundle

# ---- the module -----------------------------------------------------------------

# Kbuild leaves its objects beside the sources, so it gets copies of them.
KVER ?= $(or $(notdir $(patsubst %/build,%,$(wildcard /lib/modules/$(shell uname -r)/build))), \
	$(shell ls -d /lib/modules/*/build 2>/dev/null | cut -d/ -f4 | sort -V | tail -n 1))
KDIR ?= /lib/modules/$(KVER)/build
KMOD := $(B)/kmod-$(KVER)
KMOD_SRC := Kbuild $(wildcard kmod/*.[ch] kmod/uapi/*.h)
# The base of type information: of the running kernel, so for it only.
BTF_BASE ?= $(if $(filter $(shell uname -r),$(KVER)),/sys/kernel/btf/vmlinux)

.PHONY: modules modules_install check-kmod check-drm check-kasan check-dkms demo-kmod install-dkms
modules: $(addprefix $(KMOD)/,$(KMOD_SRC))
	$(Q)test -e $(KDIR)/Makefile || { echo "no kernel headers in '$(KDIR)': see KVER and KDIR"; exit 1; }
	$(Q)$(MAKE) -C $(KDIR) M=$(abspath $(KMOD)) modules
	$(Q)packaging/module_btf.sh $(KMOD)/vram.ko '$(BTF_BASE)'

$(addprefix $(KMOD)/,$(KMOD_SRC)): $(KMOD)/%: %
	$(Q)install -D -m 644 $< $@

# For another root: DESTDIR, which the kernel calls INSTALL_MOD_PATH.
modules_install: modules
	$(Q)$(MAKE) -C $(KDIR) M=$(abspath $(KMOD)) $(if $(DESTDIR),INSTALL_MOD_PATH=$(DESTDIR)) \
		CONFIG_MODULE_SIG_ALL= modules_install

KERNEL ?= 6.1
# The stress test of the module is longer where it is asked for.
KMOD_STRESS = $(if $(filter file,$(origin STRESS_SECONDS)),60,$(STRESS_SECONDS))
GUEST = VRAM_BUILD=$(abspath $(B)) STRESS_SECONDS=$(KMOD_STRESS)
check-kmod: deps
	$(Q)$(SUB) tests complete
	$(Q)$(GUEST) tests/vm/check_kmod.sh --kernel $(KERNEL) $(TESTS)

# Over the ledger in vramd, then over the one in the module.
.PHONY: check-limits
check-limits: deps
	$(Q)$(SUB) tests complete
	$(Q)$(RUN) limits
	$(Q)$(GUEST) tests/vm/check_kmod.sh --kernel $(KERNEL) --suite limits $(TESTS)

# On this machine with the probes of vramd, then with the module's trace points.
.PHONY: check-trace
check-trace: deps
	$(Q)$(SUB) tests benches complete
	$(Q)TRACE_ROUNDS=100 $(RUN) trace
	$(Q)$(if $(TESTS),,tests/run.sh -b $(B) -f trace bench && )VRAM_BUILD=$(abspath $(B)) TRACE_ROUNDS=100 \
		tests/vm/check_trace.sh --kernel $(KERNEL)

check-drm: deps
	$(Q)$(SUB) all
	$(Q)VRAM_BUILD=$(abspath $(B)) tests/vm/check_drm.sh --kernel $(KERNEL)

check-kasan: deps-kasan
	$(Q)$(SUB) tests complete
	$(Q)$(GUEST) tests/vm/check_kasan.sh $(TESTS)

check-dkms: deps
	$(Q)VRAM_BUILD=$(abspath $(B)) tests/vm/check_dkms.sh

# Where dkms looks for it: `dkms install vram/$(VERSION)` is then the administrator's.
dkmsdir ?= /usr/src/vram-$(VERSION)
install-dkms:
	$(call say,INSTALL,$(dkmsdir))
	$(Q)for f in $(KMOD_SRC); do install -D -m 644 $$f $(DESTDIR)$(dkmsdir)/$$f || exit; done
	$(Q)sed 's|@VERSION@|$(VERSION)|g' packaging/dkms.conf >$(DESTDIR)$(dkmsdir)/dkms.conf

# ---- packages ----------------------------------------------------------------

.PHONY: deb check-deb
DEB_DIR := $(B)/deb
deb: deps
	$(Q)packaging/deb.sh $(VERSION) $(DEB_DIR)

# BOOT=1 also boots the folder that the packages were installed in, with systemd as its first process.
check-deb: deb
	$(Q)VRAM_BUILD=$(abspath $(B)) BOOT=$(BOOT) tests/packages/check_deb.sh $(DEB_DIR)

demo-kmod: deps
	$(Q)$(SUB) all
	$(Q)if [ -x tests/support/fetch_models.sh ]; then tests/support/fetch_models.sh; fi
	$(Q)VRAM_BUILD=$(abspath $(B)) tests/vm/demo_kmod.sh

format:
	$(Q)git ls-files -z '*.c' '*.h' | xargs -0r clang-format -i

clean:
	$(Q)if [ -d $(B) ]; then find $(B) -mindepth 1 -maxdepth 1 ! -name kernels -exec rm -rf {} +; fi

distclean:
	$(Q)rm -rf $(B)

# ---- objects -----------------------------------------------------------------

# A changed compiler or flag rebuilds. Each stamp holds the flags it stands for.
.PHONY: FORCE
stamp = $(Q)mkdir -p $(@D); printf '%s\n' $(1) >$@.$$$$; \
	cmp -s $@.$$$$ $@ && rm -f $@.$$$$ || mv -f $@.$$$$ $@
quoted = '$(subst ','\'',$(1))'
$(B)/.flags: FORCE
	$(call stamp,$(call quoted,$(CC) $(FLAGS) $(SAN_FLAGS)))
$(B)/.dirs: FORCE
	$(call stamp,$(call quoted,$(DIR_FLAGS)))
$(B)/.link: FORCE
	$(call stamp,$(call quoted,$(CC) $(LINK) $(SAN_FLAGS)))

$(call obj,$(DAEMON_SRC) $(wildcard tools/*/*.c)): private FLAGS += $(DIR_FLAGS)
$(call obj,$(DAEMON_SRC) $(wildcard tools/*/*.c)): $(B)/.dirs

compile = $(Q)mkdir -p $(@D) && $(1) -MMD -MP -c -o $@ $<
$(B)/obj/%.o: %.c $(B)/.flags
	$(call say,CC,$<)
	$(call compile,$(CC) $(FLAGS) $(SAN_FLAGS))

$(B)/plain/%.o: %.c $(B)/.flags
	$(call say,CC,$< (plain))
	$(call compile,$(CC) $(FLAGS))

$(patsubst %.c,$(B)/fuzzobj/%.o,$(DAEMON_SRC)): private BASE += $(DIR_FLAGS)
$(patsubst %.c,$(B)/fuzzobj/%.o,$(DAEMON_SRC)): $(B)/.dirs
$(B)/fuzzobj/%.o: %.c $(B)/.flags
	$(call say,FUZZCC,$<)
	$(call compile,$(CLANG) $(BASE) -O1 -g -fsanitize=fuzzer-no-link $(FUZZ_SAN))

-include $(shell find $(B)/obj $(B)/plain $(B)/fuzzobj -name '*.d' 2>/dev/null)

# ---- programs for the kernel ---------------------------------------------------

# No vmlinux.h: they read nothing of the kernel's by type. The second step leaves out what only a debugger reads.
BPF_ARCH := $(subst x86_64,x86,$(subst aarch64,arm64,$(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))))
BPF_FLAGS := -g -O2 -target bpf -D__TARGET_ARCH_$(BPF_ARCH) -Wall -I. \
	$(addprefix -I/usr/include/,$(shell $(CC) -print-multiarch 2>/dev/null)) \
	$(filter -ffile-prefix-map=%,$(CFLAGS))
$(B)/bpf/vramtrace.o: tools/vramtrace/bpf/vramtrace.bpf.c
	$(call say,BPFCC,$<)
	$(Q)mkdir -p $(@D) && $(CLANG) $(BPF_FLAGS) -MMD -MP -MT $@ -MF $(@:.o=.d) -c -o $@.all $< && \
		$(BPFTOOL) gen object $@ $@.all

$(B)/bpf/vramtrace.skel.h: $(B)/bpf/vramtrace.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name vramtrace_bpf >$@

$(B)/obj/tools/vramtrace/attach.o: private FLAGS += -isystem $(B)/bpf
$(B)/obj/tools/vramtrace/attach.o: $(B)/bpf/vramtrace.skel.h
-include $(wildcard $(B)/bpf/*.d)

# ---- libraries ---------------------------------------------------------------

# A source that has moved or gone must leave its archive.
$(B)/.archived: FORCE
	$(call stamp,$(call quoted,$(COMMON_SRC) $(CLIENT_SRC) $(TOOL_SHARED_SRC)))

archive = $(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
$(B)/libcommon.a: $(call obj,$(COMMON_SRC)) $(B)/.archived
	$(call say,AR,$@)
	$(archive)
$(B)/plain/libcommon.a: $(call plain,$(COMMON_SRC)) $(B)/.archived
	$(call say,AR,$@)
	$(archive)
$(B)/libtools.a: $(call obj,$(TOOL_SHARED_SRC)) $(B)/.archived
	$(call say,AR,$@)
	$(archive)

COMMON := $(if $(COMMON_SRC),$(B)/libcommon.a)
PLAIN_COMMON := $(if $(COMMON_SRC),$(B)/$(if $(SAN),plain/)libcommon.a)

link = $(Q)mkdir -p $(@D) && $(CC) $(LINK) $(SAN_FLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^)

MAP := $(wildcard libclient/libvram.map)
$(B)/libvram.so.$(SOVERSION): $(call obj,$(CLIENT_SRC)) $(COMMON) $(MAP) $(B)/.link
	$(call say,LD,$@)
	$(link) -shared -Wl,-soname,$(@F) $(if $(SAN),,-Wl,--no-undefined) -Wl,--exclude-libs,ALL \
		$(if $(MAP),-Wl$(comma)--version-script=$(MAP)) $(CLIENT_LIBS)

$(B)/libvram.so: $(B)/libvram.so.$(SOVERSION)
	$(Q)ln -sfn $(<F) $@

# The archive holds one object whose hidden names are local, so that an engine
# linking it sees vram_* and nothing of ours beside it.
$(B)/libvram.a: $(call obj,$(CLIENT_SRC)) $(COMMON) $(B)/.archived
	$(call say,AR,$@)
	$(Q)$(CC) -r -nostdlib -o $(B)/libvram.o $(filter %.o,$^) $(filter %.a,$^)
	$(Q)$(OBJCOPY) --localize-hidden $(B)/libvram.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(B)/libvram.o

PRELOAD_MAP := $(firstword $(wildcard libclient/preload/*.map))
$(B)/libvram-preload.so: $(call plain,$(PRELOAD_SRC) $(CLIENT_SRC)) $(PLAIN_COMMON) $(PRELOAD_MAP) $(B)/.link
	$(call say,LD,$@)
	$(Q)$(CC) $(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) -shared -Wl,-soname,$(@F) \
		-Wl,--no-undefined -Wl,--exclude-libs,ALL \
		$(if $(PRELOAD_MAP),-Wl$(comma)--version-script=$(PRELOAD_MAP)) $(CLIENT_LIBS)

# The drivers for tests without a card. They are loaded by programs with and without a sanitizer.
$(B)/cuda-standin/libcuda.so.1: $(call plain,$(STANDIN_SRC))
$(B)/cuda-standin/libnvidia-ml.so.1: $(call plain,tests/cuda-standin/nvml.c)
$(STANDIN): $(B)/cuda-standin/%.so.1: tests/cuda-standin/%.map $(B)/.link
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LINK) -o $@ $(filter %.o,$^) -shared -Wl,-soname,$(@F) \
		-Wl,--no-undefined -Wl,--version-script=tests/cuda-standin/$*.map

# The driver's library in front of the driver's library: found by its name, so it has a folder of its
# own. What it takes the address of is itself, and it has a thread, so it is never unloaded.
$(B)/cuda/libcuda.so.1: $(call plain,$(CUDASHIM_SRC) $(CLIENT_SRC)) $(PLAIN_COMMON) libclient/cudashim/libcuda.map $(B)/.link
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) -shared -Wl,-soname,$(@F) \
		-Wl,--no-undefined -Wl,--exclude-libs,ALL -Wl,-Bsymbolic -Wl,-z,nodelete \
		-Wl$(comma)--version-script=libclient/cudashim/libcuda.map $(CLIENT_LIBS)

$(B)/cuda/libcuda.so: $(B)/cuda/libcuda.so.1
	$(Q)ln -sfn $(<F) $@

$(B)/libvram-torch.so: $(call obj,$(TORCH_SRC) $(CLIENT_SRC)) $(COMMON) libclient/pytorch/torch.map $(B)/.link
	$(call say,LD,$@)
	$(link) -shared -Wl,-soname,$(@F) $(if $(SAN),,-Wl$(comma)--no-undefined) -Wl,--exclude-libs,ALL \
		-Wl,--version-script=libclient/pytorch/torch.map $(CLIENT_LIBS)

# ---- programs ----------------------------------------------------------------

$(B)/vramd: $(call obj,$(DAEMON_SRC) $(LEDGER_SRC)) $(COMMON) $(B)/.link
	$(call say,LD,$@)
	$(link) $(DAEMON_LIBS)

define tool_rule
$$(B)/$(1): $$(call obj,$$(wildcard tools/$(1)/*.c)) $$(B)/libtools.a $$(STATIC) $$(COMMON) $$(B)/.link
	$$(call say,LD,$$@)
	$$(link) $$(TOOL_LIBS) $$(TOOL_LIBS_$(1))
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rule,$(t))))

$(EXAMPLES): $(B)/examples/%: $(B)/obj/libclient/examples/%.o $(STATIC) $(B)/.link
	$(call say,LD,$@)
	$(link) $(CLIENT_LIBS)

# Their objects are prerequisites that tests.mk adds, with PROG_LIBS.
$(TEST_PROGS) $(BENCH_PROGS): $(B)/.link
	$(call say,LD,$@)
	$(link) $(PROG_LIBS) $(if $(filter $(B)/tests/bench/%,$@),,$(CHECK_LIBS))

$(FUZZ_PROGS): $(B)/.flags
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CLANG) -fsanitize=fuzzer $(FUZZ_SAN) $(LINK) -o $@ $(filter %.o,$^) $(PROG_LIBS)

# Put before a test in the guest with fault injection.
$(B)/tests/failnth.so: $(B)/obj/tests/vm/failnth.o $(B)/.link
	$(call say,LD,$@)
	$(link) -shared

# ---- installation ------------------------------------------------------------

# SOURCE:TARGET:MODE of everything that is installed; uninstall reads the same.
man_target = $(mandir)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))
INSTALLED = \
	$(foreach f,$(DAEMON),$(f):$(sbindir)/vramd:755) \
	$(foreach f,$(TOOL_BINS),$(f):$(bindir)/$(notdir $(f)):755) \
	$(if $(CLIENT_SRC),$(B)/libvram.so.$(SOVERSION):$(libdir)/libvram.so.$(SOVERSION):755 \
		$(B)/libvram.a:$(libdir)/libvram.a:644) \
	$(foreach f,$(PRELOAD),$(f):$(libdir)/vram/libvram-preload.so:755) \
	$(foreach f,$(TORCH),$(f):$(libdir)/vram/libvram-torch.so:755) \
	$(foreach f,$(filter %.1,$(CUDASHIM)),$(f):$(libdir)/vram/cuda/libcuda.so.1:755) \
	$(foreach f,$(wildcard libclient/vram.h libclient/vram_cuda.h),$(f):$(includedir)/$(notdir $(f)):644) \
	kmod/uapi/vram.h:$(includedir)/linux/vram.h:644 \
	packaging/60-vram.rules:$(udevdir)/60-vram.rules:644 \
	packaging/vram.sysusers:$(sysusersdir)/vram.conf:644 \
	packaging/vram.tmpfiles:$(tmpfilesdir)/vram.conf:644 \
	packaging/vram.catalog:$(catalogdir)/vram.catalog:644 \
	$(foreach f,$(wildcard docs/man/*.[1-9]),$(f):$(call man_target,$(f)):644) \
	$(foreach p,vramd $(TOOLS),packaging/completion/vram:$(datadir)/bash-completion/completions/$(p):644) \
	$(foreach f,$(wildcard packaging/*.service packaging/*.socket),$(f):$(unitdir)/$(notdir $(f)):644)
# A page of section 3 has several functions: `man vram_close` finds it by a link.
man_links = awk '/^\.SH NAME/ { getline; sub(/ \\-.*/, ""); gsub(/,/, ""); page = FILENAME; sub(/.*\//, "", page); \
	for (i = 1; i <= NF; i++) if ($$i ".3" != page) print page, $$i ".3" }' $(wildcard docs/man/*.3)
PC := $(wildcard libclient/libvram.pc.in)
CONF := packaging/vramd.conf:$(sysconfdir)/vramd/vramd.conf:644 \
	packaging/limits.d.README:$(sysconfdir)/vramd/limits.d/README:644

field = $(word $(1),$(subst :, ,$(2)))
define put
$(call say,INSTALL,$(call field,2,$(1)))
$(Q)install -D -m $(call field,3,$(1)) $(call field,1,$(1)) $(DESTDIR)$(call field,2,$(1))

endef

install: all
	$(foreach i,$(INSTALLED),$(call put,$(i)))
	$(Q)$(man_links) | while read -r page name; do ln -sfn $$page $(DESTDIR)$(mandir)/man3/$$name || exit; done
ifneq ($(CLIENT_SRC),)
	$(Q)ln -sfn libvram.so.$(SOVERSION) $(DESTDIR)$(libdir)/libvram.so
endif
ifneq ($(CUDASHIM_SRC),)
	$(Q)ln -sfn libcuda.so.1 $(DESTDIR)$(libdir)/vram/cuda/libcuda.so
endif
ifneq ($(PC),)
	$(call say,INSTALL,$(libdir)/pkgconfig/libvram.pc)
	$(Q)mkdir -p $(DESTDIR)$(libdir)/pkgconfig
	$(Q)sed -e 's|@prefix@|$(prefix)|g' -e 's|@libdir@|$(libdir)|g' \
		-e 's|@includedir@|$(includedir)|g' -e 's|@VERSION@|$(VERSION)|g' \
		-e 's|@version@|$(VERSION)|g' $(PC) >$(DESTDIR)$(libdir)/pkgconfig/libvram.pc
endif
	$(Q)$(foreach i,$(CONF),test -e $(DESTDIR)$(call field,2,$(i)) || \
		install -D -m $(call field,3,$(i)) $(call field,1,$(i)) $(DESTDIR)$(call field,2,$(i)) || exit;)
	$(Q)test -n '$(DESTDIR)' || ldconfig 2>/dev/null || true

# The configuration stays: it is the administrator's.
uninstall:
	$(Q)rm -f $(foreach i,$(INSTALLED),$(DESTDIR)$(call field,2,$(i))) \
		$(DESTDIR)$(libdir)/libvram.so $(DESTDIR)$(libdir)/pkgconfig/libvram.pc \
		$(DESTDIR)$(libdir)/vram/cuda/libcuda.so
	$(Q)$(man_links) | while read -r page name; do rm -f $(DESTDIR)$(mandir)/man3/$$name; done
	$(Q)rmdir $(DESTDIR)$(libdir)/vram/cuda $(DESTDIR)$(libdir)/vram 2>/dev/null || true
