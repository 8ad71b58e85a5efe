package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

type metrics struct {
	registry     *prometheus.Registry
	requests     *prometheus.CounterVec
	failures     *prometheus.CounterVec
	records      *prometheus.CounterVec
	pending      prometheus.Gauge
	tokenExpires prometheus.Gauge
	heard        prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_node_requests_total", Help: "Requests to the policy service."}, []string{"path", "status"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_node_failures_total", Help: "Failures by what was tried."}, []string{"what"}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_node_audit_records_total", Help: "Audit records by what became of them."}, []string{"outcome"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_node_audit_pending_bytes", Help: "Bytes of the audit spool not shipped yet."}),
		tokenExpires: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_node_token_expires_seconds", Help: "Unix time at which the node's token ends."}),
		heard: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_node_service_heard_seconds", Help: "Unix time at which the policy service was heard last."}),
	}
	m.registry.MustRegister(m.requests, m.failures, m.records, m.pending, m.tokenExpires, m.heard)
	return m
}

// serve answers /metrics until ctx ends.
func (m *metrics) serve(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	})
	return g.Wait()
}
