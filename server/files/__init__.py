"""The Files API: media that are uploaded once and then named by id, `file-...`, for as long as their owner keeps them.

    stored      what is known about a file; ids; whose it is
    form        an upload's multipart body, piece by piece
    staged      the bytes of an upload until they are known to be good
    objects     what a place for bytes must be able to do, and how it fails
    disk, s3    the two there are: a folder, or a bucket that several servers share
    library     files of owners, kept in a place: quota, expiry, removal
    resolver    a file's bytes for a chat
    setup       from the settings to a library

The settings are in `server.settings.files`, the routes in `server.routes.files`. In a place there are two kinds of
objects, both named by the server alone:

    <owner>/files/<id>             what is known about a file, JSON; it exists from the moment this is written
    <owner>/blobs/<sha256>/<id>    its bytes; written before, removed after
"""
