// A MongoDB server that we did not write: FerretDB, on SQLite or PostgreSQL, for the tests of
// attached deployments. Usage: ferretdb ADDRESS sqlite FOLDER | ferretdb ADDRESS postgresql URL
package main

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: ferretdb ADDRESS sqlite FOLDER | ferretdb ADDRESS postgresql URL")
	}
	config := &ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: os.Args[1]},
		Handler:  os.Args[2],
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	switch os.Args[2] {
	case "sqlite":
		config.SQLiteURL = "file:" + os.Args[3] + "/"
	case "postgresql":
		config.PostgreSQLURL = os.Args[3]
	}
	server, err := ferretdb.New(config)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := server.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
