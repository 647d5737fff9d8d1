-- Rollback: Deals
-- Version: 001
-- Description: undo: pipelines and their stages, deals and where they have been, why they were lost, who belongs to them

DROP TABLE merged_contacts;
DROP TABLE deal_contacts;
DROP TABLE deal_visits;
DROP TABLE deals;
DROP TABLE lost_reasons;
DROP TABLE stages;
DROP TABLE pipelines;
