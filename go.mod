module portcullis.dev/portcullis

go 1.26.0
