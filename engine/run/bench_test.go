package run

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"portcullis.dev/portcullis/fdw"
)

// BenchmarkPointQuery is what the library adds to a query by key: from the
// scan's begin to the end of its rows, the transaction's end in the background.
func BenchmarkPointQuery(b *testing.B) {
	p := servers.postgres
	pg := &Source{ServerOID: 1, MappingOID: 11, ServerName: "pg",
		Server:  map[string]string{"driver": "PostgreSQL Unicode", "host": "127.0.0.1", "port": strconv.Itoa(p.Port), "database": "people"},
		Mapping: map[string]string{"username": p.User, "password": p.Password}}
	for name, s := range map[string]*Source{"postgres": pg, "mariadb": mariadbSource(nil)} {
		b.Run(name, func(b *testing.B) {
			e, err := Start(Config{BlockBytes: 1 << 20, MaxAbandoned: 4, AllowedHosts: "*"})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Stop()
			var took []time.Duration
			for b.Loop() {
				r := wholeTable(s, 1, 2, 3)
				r.Quals = keyIs("4711")
				began := time.Now()
				if err := pointQuery(e, r); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				waitUntil(b, func() bool { return states(e)["busy"] == 0 })
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
		})
	}
}

// keyIs is the condition id = value as the shim sends it.
func keyIs(value string) fdw.Tree {
	return fdw.Tree{
		Text: "({OPEXPR :opno 96 :opfuncid 65 :opresulttype 16 :opretset false :opcollid 0 :inputcollid 0 :args (" +
			"{VAR :varno 1 :varattno 1 :vartype 23 :vartypmod -1 :varcollid 0 :varlevelsup 0 :varnosyn 1 :varattnosyn 1 :location 1} " +
			"{CONST :consttype 23 :consttypmod -1 :constcollid 0 :constlen 4 :constbyval true :constisnull true :location 0 :constvalue <>}) :location 2})",
		Consts: []*string{&value},
		Facts: []fdw.ObjectFact{{Kind: 'o', Fact: fdw.Fact{OID: 96, Schema: "pg_catalog", Name: "=", Left: 23, Right: 23, Result: 16,
			Volatility: 'i', Strict: true, Leakproof: true}}},
	}
}

func pointQuery(e *Engine, r *ScanRequest) error {
	id, err := e.ScanBegin(r)
	if err != nil {
		return err
	}
	defer e.TransactionEnd(true)
	defer e.ScanEnd(id)
	if err := e.ScanStart(id, nil); err != nil {
		return err
	}
	for {
		_, state, err := e.ScanNext(id)
		if err != nil {
			return err
		}
		if state == ScanEnded {
			break
		}
		if state == ScanWaits {
			fds := []unix.PollFd{{Fd: int32(e.EventFD()), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, 1000)
			var counter [8]byte
			_, _ = unix.Read(e.EventFD(), counter[:])
		}
	}
	if n := e.scan(id).rows; n != 1 {
		return fmt.Errorf("%d rows", n)
	}
	return nil
}
