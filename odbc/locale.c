/*
 * locale.c: keeps text independent of the process's locale.
 *
 * psqlODBC converts SQL_C_CHAR by the encoding of LC_CTYPE, calling
 * setlocale() in the middle of a connect, unless PGCLIENTENCODING names an
 * encoding.  A constructor sets it because it runs while the library is being
 * loaded, by the thread that loads it: later, setenv would race with getenv.
 */
#include <stdlib.h>

__attribute__((constructor)) static void
text_is_utf8(void)
{
	setenv("PGCLIENTENCODING", "UTF8", 1);
}
