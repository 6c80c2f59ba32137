//! The API from outside: every endpoint, the document, compatibility.
