package odbc

// #include "fetch.h"
import "C"

import "fmt"

// mute keeps psqlODBC from writing a log of its own. Where odbcinst.ini says
// CommLog=1, as Debian's does for it, the driver logs whenever none of its
// connections that asked for no log is open (logs_on_off in mylog.c): a line at
// each disconnect, into a file in /tmp whose name anybody can guess and lay a
// link under. A connect counts from when its string is read and for ever when it
// fails after that; so one that must fail, before any network is used, ends the log for
// as long as the library is loaded.
func (l *library) mute(driver string) error {
	c := &Conn{spec: ConnSpec{Driver: driver}, lib: l}
	if err := c.allocate(); err != nil {
		return err
	}
	defer c.freeHandles()
	if err := c.login(fmt.Sprintf("Driver={%s};CommLog=0;Debug=0;Servername=/dev/null/none;Database=none;Username=none", driver)); err == nil {
		return newError("HY000", "the driver %q connected to no server", driver)
	}
	return nil
}
