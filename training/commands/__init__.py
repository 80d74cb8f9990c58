"""The command-line commands of training, one file each; nothing that is slow to import at their top."""
