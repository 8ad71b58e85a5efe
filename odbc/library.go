package odbc

/*
#cgo CFLAGS: -std=gnu11 -Wall -Wextra
#cgo LDFLAGS: -lodbc -lodbcinst -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sql.h>
#include <sqlext.h>
#include <odbcinst.h>

// Where the driver manager itself lies: drivers of the system lie in "odbc" beside it.
static const char *manager_path(void) {
	Dl_info info;
	return dladdr((void *) SQLAllocHandle, &info) != 0 ? info.dli_fname : NULL;
}

static void *open_deep(const char *path) {
	return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
}
*/
import "C"

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// library is a driver as loaded into this process, for good.
type library struct {
	path   string
	traits traits
	wide   bool           // has the W entry points
	cancel unsafe.Pointer // the driver's SQLCancel
	sqlite *sqliteLibrary // nil unless it is a SQLite driver
}

// libraries are process-wide, as what the dynamic linker keeps is.
var libraries = struct {
	sync.Mutex
	byName map[string]*library
}{byName: map[string]*library{}}

// Drivers lists the names of the drivers registered with unixODBC, sorted.
func Drivers() ([]string, error) {
	var env C.SQLHANDLE
	if rc := C.SQLAllocHandle(C.SQL_HANDLE_ENV, nil, &env); rc != C.SQL_SUCCESS {
		return nil, newError("HY001", "cannot allocate an ODBC environment")
	}
	defer C.SQLFreeHandle(C.SQL_HANDLE_ENV, env)
	if err := setODBC3(env); err != nil {
		return nil, err
	}
	var names []string
	direction := C.SQLUSMALLINT(C.SQL_FETCH_FIRST)
	for {
		var name [512]C.SQLCHAR
		var attrs [4096]C.SQLCHAR
		var n, m C.SQLSMALLINT
		rc := C.SQLDrivers(C.SQLHENV(env), direction, &name[0], C.SQLSMALLINT(len(name)), &n, &attrs[0], C.SQLSMALLINT(len(attrs)), &m)
		if rc == C.SQL_NO_DATA {
			break
		}
		if rc != C.SQL_SUCCESS && rc != C.SQL_SUCCESS_WITH_INFO {
			return nil, diagnose(C.SQL_HANDLE_ENV, env, true, "", "listing the drivers")
		}
		names = append(names, C.GoString((*C.char)(unsafe.Pointer(&name[0]))))
		direction = C.SQL_FETCH_NEXT
	}
	slices.Sort(names)
	return names, nil
}

// loadDriver loads the library of a registered driver with its symbols bound
// to its own dependencies first. unixODBC, which opens the same file later,
// gets this handle. Without it psqlODBC's libpq would call functions of the
// same names in the postgres executable.
func loadDriver(name string) (*library, error) {
	libraries.Lock()
	defer libraries.Unlock()
	if l := libraries.byName[name]; l != nil {
		return l, nil
	}
	if err := checkRegistered(name); err != nil {
		return nil, err
	}
	file := profile(name, "Driver64")
	if file == "" {
		file = profile(name, "Driver")
	}
	if file == "" {
		return nil, &Error{State: "IM002", Message: "the driver " + quoted(name) + " is registered without a library", Driver: name,
			Hint: "Set Driver= in its section of odbcinst.ini."}
	}
	l, err := openLibrary(name, file)
	if err != nil {
		return nil, err
	}
	if l.traits.logsInTmp {
		if err := l.mute(name); err != nil {
			return nil, err
		}
	}
	libraries.byName[name] = l
	return l, nil
}

func checkRegistered(name string) error {
	names, err := Drivers()
	if err != nil {
		return err
	}
	if slices.Contains(names, name) && !strings.ContainsAny(name, "/;{}=\x00") {
		return nil
	}
	hint := "No driver is registered with unixODBC."
	if len(names) > 0 {
		hint = "Registered drivers: " + strings.Join(names, ", ") + "."
	}
	return &Error{State: "IM002", Message: "there is no ODBC driver registered as " + quoted(name), Hint: hint}
}

func quoted(s string) string { return `"` + s + `"` }

func profile(section, key string) string {
	cSection, cKey, cEmpty, cFile := C.CString(section), C.CString(key), C.CString(""), C.CString("odbcinst.ini")
	defer C.free(unsafe.Pointer(cSection))
	defer C.free(unsafe.Pointer(cKey))
	defer C.free(unsafe.Pointer(cEmpty))
	defer C.free(unsafe.Pointer(cFile))
	buf := make([]byte, 4096)
	C.SQLGetPrivateProfileString(cSection, cKey, cEmpty, (*C.char)(unsafe.Pointer(&buf[0])), C.int(len(buf)), cFile)
	n := slices.Index(buf, 0)
	return string(buf[:max(n, 0)])
}

// openLibrary opens the file: as it stands when it is a path, else first beside
// the driver manager as unixODBC does, then along the linker's search path.
func openLibrary(name, file string) (*library, error) {
	paths := []string{file}
	if !strings.Contains(file, "/") {
		if p := C.manager_path(); p != nil {
			paths = []string{filepath.Join(filepath.Dir(C.GoString(p)), "odbc", file), file}
		}
	}
	var reason string
	for _, p := range paths {
		cp := C.CString(p)
		h := C.open_deep(cp)
		C.free(unsafe.Pointer(cp))
		if h != nil {
			return newLibrary(name, p, h)
		}
		if reason == "" || strings.Contains(reason, "No such file") {
			reason = C.GoString(C.dlerror())
		}
	}
	return nil, &Error{State: "IM003", Message: "the library of the driver " + quoted(name) + " cannot be loaded: " + reason, Driver: name,
		Hint: "Check Driver= in its section of odbcinst.ini and that the package with the library is installed."}
}

func newLibrary(name, path string, h unsafe.Pointer) (*library, error) {
	l := &library{path: path, traits: traitsOf(path)}
	l.wide = symbol(h, "SQLDriverConnectW") != nil && symbol(h, "SQLPrepareW") != nil
	l.cancel = symbol(h, "SQLCancel")
	if l.traits.cancel == cancelBySQLite {
		if l.sqlite = findSQLite(h); l.sqlite == nil {
			return nil, &Error{State: "IM003", Message: "the driver " + quoted(name) + " does not use the shared library of SQLite", Driver: name,
				Hint: "Use the driver of the package libsqliteodbc: others cannot be kept from opening further files."}
		}
	}
	return l, nil
}

func symbol(h unsafe.Pointer, name string) unsafe.Pointer {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	return C.dlsym(h, c)
}
