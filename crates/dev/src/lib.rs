//! The local world: a scripted stand-in for the Lambda Invoke API.
