# jobrun: `make run` builds and runs the main job, `make test` builds and passes the tests; both
# install what is missing from Debian first. `make help` lists the rest.
#
# The floors, lowest first, are also the order to read the files in: a file includes only headers of
# its own floor and of lower ones, and `make lint` checks that.

B      ?= build
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g -fno-omit-frame-pointer -fstack-protector-strong -D_FORTIFY_SOURCE=2

PURE   = list tune status mem heap buf cells json log logline logring ptrmap lines tail ffline rmtree duration label civil stamp tzrule tz zones wall cron cronline cronwords calendar hourly window rule when run meter spawn litter warden notify httphead httpbody httpreply
HEART  = clock task rt post glue failure wait cradle join co dump watchdog
WAITS  = names code value pack unpack worker pool work stream
TRADES = zonebook jobs plan runs jobnews proc fs fswatch httpconn httpserver curl fetch store storesql sqlite sqlverbs sqljobs sqlengine
LIBS   = lib_duration lib_task lib_sync lib_host lib_log lib_work lib_handle lib_follow lib_pipes lib_proc lib_terminal fields lib_run lib_job lib_batch lib_rule lib_policy lib_runs lib_metrics lib_jobs lib_fs lib_luv lib_json headers lib_http lib_fetch lib_store lib
DOOR   = jobrun service life host embed
FLOORS = $(PURE) $(HEART) $(WAITS) $(TRADES) $(LIBS) $(DOOR)

SRC    = $(wildcard $(FLOORS:%=src/%.c))
LUA    = $(sort $(wildcard lua/*.lua lua/*/*.lua lua/*/*/*.lua)) src/schema.sql
OBJ    = $(SRC:src/%.c=$(B)/%.o) $(B)/embedded.o
C_TESTS = $(patsubst tests/c/%.c,$(B)/tests/%,$(wildcard tests/c/test_*.c))
HELPERS = $(patsubst tests/c/%.c,$(B)/tests/%,$(filter-out tests/c/test_%.c,$(wildcard tests/c/*.c)))

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
       -Wcast-qual -Wformat=2 -Wimplicit-fallthrough -Wconversion $(if $(CI),-Werror)
INCLUDES = -iquote src $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I lua5.4 libuv sqlite3 2>/dev/null))
FLAGS = -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARN) $(INCLUDES) -MMD -MP
LIBRARIES = $(shell pkg-config --libs lua5.4 libuv sqlite3 2>/dev/null) -lpthread -lm
LINK = -pie -Wl,-z,relro,-z,now $(LDFLAGS)

.PHONY: all run test test-asan test-tsan test-hard torture lint bench install deps deps-test help clean format
all: $(B)/jobrun $(B)/libjobrun.a $(B)/libjobrun.so.0 $(B)/jobrun.pc $(B)/jobrun.1 $(B)/jobrun.d.lua

## run: build, then run the main job (scripts/hello.lua: ticks, and a real encode)
run: deps
	@$(MAKE) --no-print-directory all
	$(B)/jobrun scripts/hello.lua

## test: build, then run all tests
test: deps-test
	@$(MAKE) --no-print-directory all tests-built
	@sh tests/run.sh $(B)

## test-asan: the same tests under AddressSanitizer and UndefinedBehaviorSanitizer
test-asan: deps-test
	@$(MAKE) --no-print-directory B=build-asan CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	  LDFLAGS="-fsanitize=address,undefined" all tests-built
	@sh tests/run.sh build-asan

## test-tsan: the tests that use threads under ThreadSanitizer
test-tsan: deps-test
	@$(MAKE) --no-print-directory B=build-tsan CFLAGS="-O1 -g -fsanitize=thread --param=tsan-instrument-func-entry-exit=0" LDFLAGS="-fsanitize=thread" all tests-built
	@TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp" sh tests/run.sh build-tsan

## test-hard: the tests with tiny buffers, one resume a turn and a full collection all the time
test-hard: deps-test
	@$(MAKE) --no-print-directory B=build-hard CFLAGS="-O1 -g -DJR_HARD -fsanitize=address,undefined" LDFLAGS="-fsanitize=address,undefined" all tests-built
	@sh tests/run.sh build-hard

## torture: kill -9 at 200 random moments; what was acknowledged must be there, once
torture: deps-test
	@$(MAKE) --no-print-directory all
	@JOBRUN_BUILD=$(B) JOBRUN_ROUNDS=200 $(B)/jobrun -e 'require("jobrun.test").run_file(...)' tests/torture_test.lua

## lint: layers, formatting, luacheck
lint:
	@sh tests/lint.sh "$(PURE) / $(HEART) / $(WAITS) / $(TRADES) / $(LIBS) / $(DOOR) / envfile command main"

## bench: one table of jobrun beside its peers (takes minutes; never fails)
bench: deps
	@$(MAKE) --no-print-directory all
	@sh tests/bench/run.sh $(B)

## install: into DESTDIR/PREFIX (default /usr/local)
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/jobrun
	install -m 644 $(B)/jobrun.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(B)/jobrun.d.lua $(DESTDIR)$(PREFIX)/share/jobrun/
	install -m 755 $(B)/jobrun $(DESTDIR)$(PREFIX)/bin/
	install -m 644 src/jobrun.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(B)/libjobrun.a $(B)/libjobrun.so.0 $(DESTDIR)$(PREFIX)/lib/
	ln -sf libjobrun.so.0 $(DESTDIR)$(PREFIX)/lib/libjobrun.so
	sed 's|^prefix=.*|prefix=$(PREFIX)|' $(B)/jobrun.pc > $(DESTDIR)$(PREFIX)/lib/pkgconfig/jobrun.pc

## format: clang-format over the C files
format:
	clang-format -i src/*.c src/*.h $(wildcard tests/c/*.c tests/fuzz/*.c tests/bench/*.c tests/bench/*/*.c)

## deps: install what is missing from Debian
deps:
	@sh tests/deps.sh build-essential pkg-config liblua5.4-dev libuv1-dev libsqlite3-dev ffmpeg
deps-test: deps
	@sh tests/deps.sh lua-unit libcmocka-dev libcurl4 curl mandoc python3 tmux lua-luv strace prometheus python3-prometheus-client

## clean: remove all builds
clean:
	rm -rf build build-*

## help: this list
help:
	@sed -n 's/^## /  make /p' Makefile

# ---- how it is built ----------------------------------------------------------------------------

$(B)/jobrun: $(B)/main.o $(B)/command.o $(B)/envfile.o $(OBJ)
	$(call Q,LINK)$(CC) $(LINK) -o $@ $^ $(LIBRARIES) -Wl,-E

$(B)/libjobrun.a: $(OBJ)
	$(call Q,AR)rm -f $@ && ar rcs $@ $^

$(B)/libjobrun.so.0: $(OBJ)
	$(call Q,LINK)$(CC) -shared -Wl,-soname,libjobrun.so.0 -Wl,-z,relro,-z,now $(LDFLAGS) -o $@ $^ $(LIBRARIES)

$(B)/jobrun.pc: src/jobrun.h Makefile | $(B)
	@printf 'prefix=%s\nlibdir=$${prefix}/lib\nincludedir=$${prefix}/include\n\nName: jobrun\nDescription: Embeddable job runner scripted in Lua\nVersion: %s\nRequires.private: lua5.4 libuv sqlite3\nLibs: -L$${libdir} -ljobrun\nLibs.private: -lpthread -lm\nCflags: -I$${includedir}\n' \
	  '$(PREFIX)' "$$(sed -n 's/#define JOBRUN_VERSION "\(.*\)"/\1/p' src/jobrun.h)" > $@

# Both are made from what the command itself says.
$(B)/jobrun.1 $(B)/jobrun.d.lua: $(B)/jobrun
	$(call Q,DOC)$(B)/jobrun -e 'require("jobrun.cli.$(if $(filter %.1,$@),man,definitions)").main()' > $@.new && mv $@.new $@

# V=1 shows the commands.
Q = $(if $(V),,@printf '  %-4s %s\n' "$(1)" "$@"; )
$(B)/%.o: src/%.c | $(B)
	$(call Q,CC)$(CC) $(FLAGS) $(CFLAGS) -c -o $@ $<

# The Lua files as text in the binary; .incbin keeps them byte for byte.
$(B)/embedded.c: $(LUA) src/embed.sh Makefile | $(B)
	@sh src/embed.sh $(LUA) > $@

$(B)/embedded.o: $(B)/embedded.c $(LUA)
	$(call Q,CC)$(CC) -std=gnu11 -fPIC -fvisibility=hidden $(INCLUDES) $(CFLAGS) -c -o $@ $<

.PHONY: tests-built
tests-built: $(C_TESTS) $(HELPERS) $(B)/tests/host $(B)/tests/epoll_host

$(B)/tests/test_%: tests/c/test_%.c $(B)/libjobrun.a | $(B)/tests
	$(call Q,CC)$(CC) $(FLAGS) $(CFLAGS) $(LINK) -o $@ $< $(B)/libjobrun.a $(LIBRARIES) -lcmocka

$(B)/tests/%: tests/c/%.c $(B)/libjobrun.a | $(B)/tests
	$(call Q,CC)$(CC) $(FLAGS) $(CFLAGS) $(LINK) -o $@ $< $(B)/libjobrun.a $(LIBRARIES)

$(B)/tests/%: scripts/%.c $(B)/libjobrun.a | $(B)/tests
	$(call Q,CC)$(CC) $(FLAGS) $(CFLAGS) $(LINK) -o $@ $< $(B)/libjobrun.a $(LIBRARIES)

$(B) $(B)/tests:
	@mkdir -p $@

-include $(wildcard $(B)/*.d $(B)/tests/*.d)
