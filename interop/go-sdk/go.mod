module tidemark/interop/go-sdk

go 1.25.0

require (
	go.mongodb.org/atlas-sdk/v20230201002 v20230201002.0.0
	go.mongodb.org/atlas-sdk/v20240530005 v20240530005.0.0
	go.mongodb.org/atlas-sdk/v20250312010 v20250312010.0.0
	go.mongodb.org/atlas-sdk/v20250312020 v20250312020.0.0
	golang.org/x/oauth2 v0.36.0
)

require github.com/mongodb-forks/digest v1.1.0 // indirect
