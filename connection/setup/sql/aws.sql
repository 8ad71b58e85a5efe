-- The account logs in with tokens of IAM.
GRANT rds_iam TO {{account}};
