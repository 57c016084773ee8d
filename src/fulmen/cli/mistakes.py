def explained(parser, message): return message
