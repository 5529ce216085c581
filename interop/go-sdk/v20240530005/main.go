package main

import (
	"go.mongodb.org/atlas-sdk/v20240530005/admin"
	_ "golang.org/x/oauth2/clientcredentials"
)

func main() { admin.NewClient() }
