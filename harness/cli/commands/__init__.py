"""The commands, one thin function each: arguments and help here, the work in the rooms; heavy imports inside."""
