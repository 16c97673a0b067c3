// libpq, the client library of PostgreSQL.
#ifndef GATEHOUSE_CPOSTGRES_SHIM_H
#define GATEHOUSE_CPOSTGRES_SHIM_H

#include <libpq-fe.h>

/// The fields of an error. Exist because Swift doesn't import macros that are characters.
static const int gatehouse_field_state = PG_DIAG_SQLSTATE;
static const int gatehouse_field_constraint = PG_DIAG_CONSTRAINT_NAME;
static const int gatehouse_field_message = PG_DIAG_MESSAGE_PRIMARY;

#endif
