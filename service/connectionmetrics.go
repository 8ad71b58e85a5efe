package service

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// connectionMetrics are the figures of PostgreSQL connections, of those whose
// lease this service holds.
type connectionMetrics struct {
	tries      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	crawl      *prometheus.HistogramVec
	statements *prometheus.CounterVec
	drift      *prometheus.CounterVec
	pending    *prometheus.GaugeVec
	overdue    *prometheus.GaugeVec
	lingering  *prometheus.GaugeVec
	exceeds    *prometheus.GaugeVec
	lacks      *prometheus.GaugeVec
	unmapped   *prometheus.GaugeVec
	synced     *prometheus.GaugeVec

	mu    sync.Mutex
	names map[string]string // by id; "": deleted, while its loop may still be at work
}

func newConnectionMetrics(r *prometheus.Registry) *connectionMetrics {
	label := []string{"connection"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "portcullis_connection_" + name, Help: help}, label)
	}
	buckets := prometheus.ExponentialBuckets(0.01, 2, 16)
	m := &connectionMetrics{
		tries:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_connection_tries_total", Help: "Rounds by outcome: done, failed."}, []string{"connection", "outcome"}),
		seconds:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "portcullis_connection_round_seconds", Help: "Time of a round that compared the instance.", Buckets: buckets}, label),
		crawl:      prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "portcullis_connection_crawl_seconds", Help: "Time of a crawl.", Buckets: buckets}, label),
		statements: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_connection_statements_total", Help: "Statements applied."}, label),
		drift:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_connection_drift_total", Help: "Statements that mended what somebody changed by hand."}, label),
		pending:    gauge("pending", "Statements that are not in force yet."),
		overdue:    gauge("revokes_overdue", "Revokes that are pending for too long."),
		lingering:  gauge("lingering_sessions", "Sessions from before a revoke that may keep what it took, up to PostgreSQL 15."),
		exceeds:    gauge("exceeds", "Pairs of person and table with access that others gave."),
		lacks:      gauge("lacks", "Pairs of person and table with less access than the policies give."),
		unmapped:   gauge("unmapped_people", "People without an account."),
		synced:     gauge("last_sync_timestamp_seconds", "When the last round succeeded."),
		names:      map[string]string{},
	}
	r.MustRegister(m.tries, m.seconds, m.crawl, m.statements, m.drift, m.pending, m.overdue, m.lingering, m.exceeds, m.lacks, m.unmapped, m.synced)
	return m
}

func (m *connectionMetrics) finished(id string, st *ConnectionStatus, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := st.Connection
	if was, known := m.names[id]; known && was == "" {
		return
	}
	m.names[id] = name
	if err != nil {
		m.tries.WithLabelValues(name, "failed").Inc()
		return
	}
	m.tries.WithLabelValues(name, "done").Inc()
	m.pending.WithLabelValues(name).Set(float64(len(st.Pending)))
	m.overdue.WithLabelValues(name).Set(float64(len(st.Overdue)))
	m.lingering.WithLabelValues(name).Set(float64(len(st.Lingering)))
	m.exceeds.WithLabelValues(name).Set(float64(st.Exceeds))
	m.lacks.WithLabelValues(name).Set(float64(st.Lacks))
	m.unmapped.WithLabelValues(name).Set(float64(st.People.Unmapped))
	if st.LastSync != nil {
		m.synced.WithLabelValues(name).Set(float64(st.LastSync.UnixMilli()) / 1000)
	}
}

func (m *connectionMetrics) applied(name string, statements, drift int) {
	m.statements.WithLabelValues(name).Add(float64(statements))
	m.drift.WithLabelValues(name).Add(float64(drift))
}

func (m *connectionMetrics) rounded(name string, took time.Duration) {
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
}

func (m *connectionMetrics) crawled(name string, took time.Duration) {
	m.crawl.WithLabelValues(name).Observe(took.Seconds())
}

// deleted drops the gauges of a connection at once. A round that is still under
// way brings none back.
func (m *connectionMetrics) deleted(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(m.names[id])
	m.names[id] = ""
}

// forget drops the gauges of a connection that this service no longer works on.
func (m *connectionMetrics) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(m.names[id])
	delete(m.names, id)
}

func (m *connectionMetrics) drop(name string) {
	for _, g := range []*prometheus.GaugeVec{m.pending, m.overdue, m.lingering, m.exceeds, m.lacks, m.unmapped, m.synced} {
		g.DeleteLabelValues(name)
	}
}
